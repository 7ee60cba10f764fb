//! The search against all placements there are, and against what can be told without a search.

use std::time::Instant;

use super::*;

/// xorshift64*, so that a failing instance can be made again from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn unit(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 53) as f64
    }
}

/// Stages with a memory and a speed, and hops; index `stages.len()` is the host.
#[derive(Debug, Default)]
struct Made {
    bytes: Vec<f64>,
    stages: Vec<Stage>,
    hops: Vec<Vec<f64>>,
}

#[derive(Debug, Clone, Default)]
struct Stage {
    devices: u32,
    class: usize,
    memory: f64,
    speed: f64,
    fixed: f64,
}

impl Made {
    fn equal(n_units: usize, n_stages: usize, memory: f64, hop: f64) -> Made {
        let stage = |i: usize| Stage { devices: 1 << i, class: 0, memory, speed: 1.0, fixed: 0.0 };
        Made {
            bytes: vec![1.0; n_units],
            stages: (0..n_stages).map(stage).collect(),
            hops: vec![vec![hop; n_stages + 1]; n_stages + 1],
        }
    }

    /// `dyadic`: small multiples of 1/8 and speeds of powers of two, so that sums are exact and ties are frequent.
    fn random(r: &mut Random, n_units: usize, n_devices: usize, dyadic: bool) -> Made {
        let mut value = |low: f64, high: f64| {
            let x = low + (high - low) * r.unit();
            if dyadic { (x * 2.0).ceil() / 2.0 } else { x }
        };
        let mut made = Made { bytes: (0..n_units).map(|_| value(0.5, 2.0)).collect(), ..Made::default() };
        let total: f64 = made.bytes.iter().sum();
        for d in 0..n_devices {
            let memory = value(0.02, 1.3) * total * if value(0.0, 1.0) > 0.6 { 1.0 } else { 0.5 };
            let speed = 2f64.powf(value(-2.0, 2.0));
            made.stages.push(Stage { devices: 1 << d, class: d, memory, speed, fixed: value(0.0, 0.3) });
        }
        if r.below(8) == 0 && n_devices == 4 {
            for pair in [[0, 1], [2, 3]] {
                let [a, b] = pair.map(|d| made.stages[d].clone());
                let (devices, class) = (a.devices | b.devices, made.stages.len());
                let speed = if dyadic { a.speed } else { (a.speed + b.speed) * 0.8 };
                made.stages.push(Stage { devices, class, memory: a.memory + b.memory, speed, fixed: 0.25 });
            }
        }
        let n = made.stages.len();
        let scale = [0.0, 0.25, 4.0][r.below(3)];
        let uniform = r.below(2) == 0;
        let one = scale * if dyadic { 0.5 } else { r.unit() };
        for _ in 0..=n {
            let hop = |r: &mut Random| match (uniform, dyadic) {
                (true, _) => one,
                (_, true) => scale * r.below(4) as f64 / 4.0,
                _ => scale * r.unit(),
            };
            made.hops.push((0..=n).map(|_| if r.below(40) == 0 { f64::INFINITY } else { hop(r) }).collect());
        }
        // Twins, which mostly are interchangeable only where their hops are uniform.
        for twin in 1..n_devices {
            if r.below(3) == 0 {
                let from = r.below(twin);
                let devices = made.stages[twin].devices;
                made.stages[twin] = Stage { devices, ..made.stages[from].clone() };
            }
        }
        made
    }
}

impl Chain for Made {
    fn n_units(&self) -> usize {
        self.bytes.len()
    }
    fn n_stages(&self) -> usize {
        self.stages.len()
    }
    fn devices(&self, stage: usize) -> u32 {
        self.stages[stage].devices
    }
    fn range(&self, stage: usize, first: usize, end: usize) -> Option<Cost> {
        let s = &self.stages[stage];
        let bytes: f64 = self.bytes[first..end].iter().sum();
        let room = (s.memory - bytes) / [1.0, 2.0, 4.0, 8.0][(end - first) % 4];
        (bytes <= s.memory).then_some(Cost { seconds: s.fixed + bytes / s.speed, room })
    }
    fn hop(&self, from: Option<usize>, to: Option<usize>) -> f64 {
        let host = self.stages.len();
        self.hops[from.unwrap_or(host)][to.unwrap_or(host)]
    }
    fn class(&self, stage: usize) -> usize {
        self.stages[stage].class
    }
}

/// All that continues `so_far`, one unit and one stage after the other.
fn enumerate(chain: &Made, so_far: &mut Vec<Segment>, seconds: [f64; 2], room: f64, found: &mut Vec<Placement>) {
    let first = so_far.last().map_or(0, |s| s.end);
    let from = so_far.last().map(|s| s.stage);
    if first == chain.bytes.len() {
        let last = chain.hop(from, None);
        if last < f64::INFINITY {
            let segments = so_far.clone();
            found.push(Placement { segments, seconds: seconds[0] + last, bottleneck: seconds[1], room, exact: true });
        }
        return;
    }
    let taken = so_far.iter().fold(0, |all, s| all | chain.devices(s.stage));
    for stage in 0..chain.stages.len() {
        let hop = chain.hop(from, Some(stage));
        if chain.devices(stage) & taken != 0 || hop == f64::INFINITY {
            continue;
        }
        for end in first + 1..=chain.bytes.len() {
            let Some(cost) = chain.range(stage, first, end) else { break };
            so_far.push(Segment { stage, first, end });
            let s = hop + cost.seconds;
            enumerate(chain, so_far, [seconds[0] + s, seconds[1].max(s)], room.min(cost.room), found);
            so_far.pop();
        }
    }
}

/// The figures to minimise, the first one first.
fn keys(p: &Placement, objective: Objective) -> [f64; 2] {
    match objective {
        Objective::Latency => [p.seconds, p.seconds],
        Objective::Throughput => [p.bottleneck, p.seconds],
        Objective::Headroom => [-p.room, p.seconds],
    }
}

fn best(chain: &Made, objective: Objective) -> Option<Placement> {
    place(chain, objective, u32::MAX, usize::MAX).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

fn check_valid(chain: &Made, p: &Placement) {
    let (mut at, mut taken, mut from) = (0, 0, None);
    let (mut seconds, mut bottleneck, mut room) = (0.0, 0.0f64, f64::INFINITY);
    for s in &p.segments {
        assert!(s.first == at && s.end > at, "{p:?}");
        assert_eq!(chain.devices(s.stage) & taken, 0, "{p:?}");
        let cost = chain.range(s.stage, s.first, s.end).expect("fits");
        let stage = cost.seconds + chain.hop(from, Some(s.stage));
        seconds += stage;
        (bottleneck, room) = (bottleneck.max(stage), room.min(cost.room));
        (at, taken, from) = (s.end, taken | chain.devices(s.stage), Some(s.stage));
    }
    assert_eq!(at, chain.bytes.len());
    assert!(close(seconds + chain.hop(from, None), p.seconds), "{p:?}");
    assert!(close(bottleneck, p.bottleneck) && room == p.room, "{p:?}");
}

const OBJECTIVES: [Objective; 3] = [Objective::Latency, Objective::Throughput, Objective::Headroom];

#[test]
fn agrees_with_all_placements() {
    const COUNT: u64 = 12_000;
    let (mut feasible, mut placements, mut tied) = (0, 0, 0);
    let mut found = Vec::new();
    for seed in 1..=COUNT {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (n_units, n_devices, dyadic) = (1 + r.below(10), 1 + r.below(4), seed % 3 == 0);
        let chain = Made::random(&mut r, n_units, n_devices, dyadic);
        found.clear();
        enumerate(&chain, &mut Vec::new(), [0.0; 2], f64::INFINITY, &mut found);
        feasible += usize::from(!found.is_empty());
        placements += found.len();
        for objective in OBJECTIVES {
            let got = best(&chain, objective);
            let context = || format!("seed {seed}, {objective:?}: {got:?}, {chain:?}");
            let Some(p) = &got else {
                assert!(found.is_empty(), "{}", context());
                assert!(fewest(&chain, u32::MAX).unwrap().is_none());
                continue;
            };
            check_valid(&chain, p);
            assert!(p.exact);
            let mut left: Vec<&Placement> = found.iter().collect();
            for (i, key) in keys(p, objective).into_iter().enumerate() {
                let best = left.iter().map(|p| keys(p, objective)[i]).fold(f64::INFINITY, f64::min);
                assert!(close(best, key), "best {best}, {}", context());
                left.retain(|p| close(best, keys(p, objective)[i]));
            }
            // Of equally good placements the first in order must be the one; this is checked if sums are exact.
            if dyadic {
                tied += usize::from(left.len() > 1);
                let stages = |p: &Placement| (p.segments.len(), p.segments.iter().map(|s| s.stage).collect::<Vec<_>>());
                let first = left.iter().map(|p| stages(p)).min().unwrap();
                assert_eq!(stages(p), first, "{}", context());
                left.retain(|p| stages(p) == first);
                let bottleneck = left.iter().map(|p| p.bottleneck).fold(f64::INFINITY, f64::min);
                assert!(close(bottleneck, p.bottleneck), "{}", context());
            }
            // The fewest segments, and as many as are allowed.
            let few = found.iter().map(|p| p.segments.len()).min().unwrap();
            let all = place(&chain, objective, u32::MAX, few).unwrap().unwrap();
            assert_eq!(fewest(&chain, u32::MAX).unwrap(), Some(few), "{}", context());
            assert!(fits(&chain, u32::MAX, few).unwrap() && !fits(&chain, u32::MAX, few - 1).unwrap(), "{}", context());
            let of_few = found.iter().filter(|p| p.segments.len() == few).map(|p| keys(p, objective)[0]);
            assert!(close(of_few.fold(f64::INFINITY, f64::min), keys(&all, objective)[0]), "{}", context());
            assert!(place(&chain, objective, u32::MAX, few - 1).unwrap().is_none());
        }
    }
    println!("{COUNT} instances x 3 objectives, {feasible} feasible, {placements} placements, {tied} ties");
    assert!(feasible as u64 > COUNT / 2 && (feasible as u64) < COUNT);
}

#[test]
fn only_allowed_devices() {
    let chain = Made::equal(10, 4, 5.0, 0.1);
    for objective in OBJECTIVES {
        let p = place(&chain, objective, 0b1010, usize::MAX).unwrap().unwrap();
        assert_eq!(p.segments.iter().map(|s| s.stage).collect::<Vec<_>>(), [1, 3]);
        assert!(place(&chain, objective, 0b1000, usize::MAX).unwrap().is_none());
        assert!(place(&chain, objective, 0, usize::MAX).unwrap().is_none());
    }
}

#[test]
fn nothing_to_place() {
    assert!(best(&Made::equal(0, 4, 5.0, 0.1), Objective::Latency).is_none());
    assert!(best(&Made::equal(3, 0, 5.0, 0.1), Objective::Latency).is_none());
}

#[test]
fn equal_cuts_where_the_sum_does_not_care() {
    let p = best(&Made::equal(12, 4, 8.0, 0.5), Objective::Latency).unwrap();
    assert_eq!(p.segments, [Segment { stage: 0, first: 0, end: 6 }, Segment { stage: 1, first: 6, end: 12 }]);
}

/// 8 boards of two dies: the hop between the dies of a board is cheaper.
#[test]
fn sixteen_dies_on_boards() {
    let mut chain = Made::equal(81, 16, 12.0, 1.0);
    for die in 0..16 {
        chain.hops[die][die ^ 1] = 0.25;
    }
    for objective in OBJECTIVES {
        let start = Instant::now();
        let p = best(&chain, objective).unwrap();
        println!("16 dies on 8 boards, {objective:?}: {:?}, {:?}", start.elapsed(), p.segments.len());
        check_valid(&chain, &p);
        assert!(p.exact);
        match objective {
            // 7 dies, 3 pairs of them on a board, 5 hops with both ends.
            Objective::Latency => assert!(close(p.seconds, 81.0 + 5.0 + 3.0 * 0.25), "{p:?}"),
            Objective::Throughput => assert!(close(p.bottleneck, 6.25), "{p:?}"),
            // Only ranges of 1, 4 and 8 units have a room of 4 or more; without those of 8, 16 dies hold but 64 units.
            Objective::Headroom => assert_eq!((p.room, p.segments.len()), (4.0, 11)),
        }
    }
}

#[test]
fn more_different_devices_than_can_be_tried() {
    let mut r = Random(7);
    let mut chain = Made::equal(61, 24, 0.0, 0.0);
    for (i, stage) in chain.stages.iter_mut().enumerate() {
        *stage = Stage { class: i, memory: 3.0 + 3.0 * r.unit(), speed: 1.0 + r.unit(), ..stage.clone() };
    }
    for row in &mut chain.hops {
        let hop = [0.1, 0.2, 0.3][r.below(3)];
        row.iter_mut().for_each(|h| *h = hop);
    }
    for objective in OBJECTIVES {
        let start = Instant::now();
        let p = best(&chain, objective).unwrap();
        println!("24 different devices, {objective:?}: {:?}, {:?}", start.elapsed(), keys(&p, objective));
        check_valid(&chain, &p);
        assert!(!p.exact);
    }
    // By memory, largest first.
    let mut largest: Vec<usize> = chain.stages.iter().map(|s| s.memory as usize).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let sums = largest.iter().scan(0, |sum, units| {
        *sum += units;
        Some(*sum)
    });
    let few = 1 + sums.take_while(|sum| *sum < 61).count();
    assert_eq!(fewest(&chain, u32::MAX).unwrap(), Some(few));
    assert!(fits(&chain, u32::MAX, few).unwrap() && !fits(&chain, u32::MAX, few - 1).unwrap());
}

/// The quick answer is that of the search where both try all, if there is a way between any two stages.
#[test]
fn the_reach_of_sets_tells_the_fewest_stages() {
    let (mut held, mut several) = (0, 0);
    for seed in 1..=3000u64 {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (n_units, n_devices) = (1 + r.below(30), 1 + r.below(6));
        let mut chain = Made::random(&mut r, n_units, n_devices, seed % 3 == 0);
        chain.hops.iter_mut().flatten().filter(|h| **h == f64::INFINITY).for_each(|h| *h = 1.0);
        let found = reach::fewest(&chain, &tables::classes(&chain, u32::MAX));
        assert_eq!(found, fewest(&chain, u32::MAX).unwrap(), "seed {seed}: {chain:?}");
        held += usize::from(found.is_some());
        several += usize::from(found.is_some_and(|n| n > 2));
    }
    assert!(held > 1000 && held < 3000 && several > 50, "{held} held, {several} by three or more");
}
