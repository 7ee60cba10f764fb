//! The inner part of attention, and the formats that it reads.

use super::super::attend::{BlockOfKeys, Cells};
use super::*;
use crate::quant::half_to_f32;

/// A head of `n_cells` cells in `ty`, behind another head: the bytes, bytes of a cell, and the head's values.
fn cells_of(ty: Type, n_cells: usize, dim: usize, seed: u64) -> (Vec<u8>, usize, Vec<f32>) {
    let row = ty.row_bytes(2 * dim).unwrap();
    let (mut noise, mut bytes, mut values) = (Noise(seed), vec![0; n_cells * row], vec![0.0; n_cells * dim]);
    for (cell, values) in bytes.chunks_exact_mut(row).zip(values.chunks_exact_mut(dim)) {
        quantize(ty, &noise.vector(2 * dim), cell);
        dequantize(ty, &cell[row / 2..], values);
    }
    (bytes, row, values)
}

#[test]
fn attention_over_a_block() {
    for isa in Isa::available() {
        let k = Kernels::new(isa);
        for (ty, dim_k, dim_v) in [
            (Type::F32, 64, 64),
            (Type::F32, 24, 8),
            (Type::F16, 128, 80),
            (Type::F16, 40, 56),
            (Type::F16, 192, 128),
            (Type::Q8_0, 64, 96),
            (Type::Q4_0, 96, 64),
        ] {
            for (n, softcap) in [(1usize, None), (17, Some(0.7f32)), (64, None)] {
                let what = format!("{} {} {dim_k} {dim_v} {n}", isa.name(), ty.name());
                let order: Vec<u32> = (0..n as u32).map(|i| (i * 37 + 5) % 64).collect();
                let (key_bytes, key_row, keys) = cells_of(ty, 64, dim_k, 1);
                let (value_bytes, value_row, values) = cells_of(ty, 64, dim_v, 2);
                let (dim_kp, dim_vp) = (dim_k.next_multiple_of(16), dim_v.next_multiple_of(16));
                let (mut key_floats, mut value_floats) = (vec![f32::NAN; dim_kp * 64], vec![f32::NAN; dim_vp * 64]);
                let head = |bytes: &[u8], row_bytes: usize| bytes.as_ptr().wrapping_add(row_bytes / 2);
                let (base_k, base_v) = (head(&key_bytes, key_row), head(&value_bytes, value_row));
                // SAFETY: the vectors are as long as the shapes say.
                unsafe {
                    let cells = Cells { base: base_k, row_bytes: key_row, cells: &order, dim: dim_k };
                    k.block_of_keys(ty, cells, key_floats.as_mut_ptr());
                    let cells = Cells { base: base_v, row_bytes: value_row, cells: &order, dim: dim_v };
                    k.block_of_values(ty, cells, value_floats.as_mut_ptr());
                }
                for (i, cell) in order.iter().enumerate() {
                    for d in 0..dim_k {
                        assert_eq!(key_floats[d * 64 + i], keys[*cell as usize * dim_k + d], "{what}");
                    }
                    for d in 0..dim_v {
                        assert_eq!(value_floats[i * dim_vp + d], values[*cell as usize * dim_v + d], "{what}");
                    }
                }
                const ROWS: usize = 7;
                let x = Noise(3).vector(ROWS * dim_k);
                let queries: Vec<*const f32> = x.chunks_exact(dim_k).map(<[f32]>::as_ptr).collect();
                // Over the keys from..to, starting from sums of 0.5 under a maximum of -2 and a total of 3.
                let attend = |queries: &[*const f32], from: usize, to: usize| {
                    let n_rows = queries.len();
                    let (mut scores, mut sums) = (vec![f32::NAN; n_rows * 64], vec![0.5; n_rows * dim_vp]);
                    let (mut max, mut total) = (vec![-2.0; n_rows], vec![3.0; n_rows]);
                    // SAFETY: as above.
                    unsafe {
                        k.attend(BlockOfKeys {
                            positions: &[0; 64],
                            falls: &[],
                            keys: key_floats.as_ptr(),
                            values: value_floats.as_ptr(),
                            from,
                            to,
                            dim_k,
                            dim_v: dim_vp,
                            queries,
                            scale: 0.3,
                            softcap,
                            scores: scores.as_mut_ptr(),
                            sums: sums.as_mut_ptr(),
                            max: &mut max,
                            total: &mut total,
                        });
                    }
                    (sums, max, total)
                };
                for (from, to) in [(0, n), (n / 3, n), (0, n.div_ceil(2))] {
                    let (sums, max, total) = attend(&queries, from, to);
                    for row in 0..ROWS {
                        let score = |i: usize| {
                            let key = &keys[order[i] as usize * dim_k..][..dim_k];
                            let dot: f64 =
                                x[row * dim_k..].iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                            softcap.map_or(0.3 * dot, |cap| f64::from(cap) * (0.3 * dot / f64::from(cap)).tanh())
                        };
                        let weight = |i: usize| (score(i) - f64::from(max[row])).exp();
                        let before = (-2.0 - f64::from(max[row])).exp();
                        let near = |x: f32, y: f64| {
                            assert!((f64::from(x) - y).abs() < 1e-4 * (1.0 + y.abs()), "{what}: {x} {y}")
                        };
                        near(total[row], (from..to).map(weight).sum::<f64>() + 3.0 * before);
                        for d in 0..dim_v {
                            let value = |i: usize| f64::from(values[order[i] as usize * dim_v + d]);
                            near(
                                sums[row * dim_vp + d],
                                (from..to).map(|i| weight(i) * value(i)).sum::<f64>() + 0.5 * before,
                            );
                        }
                        let alone = attend(&queries[row..=row], from, to);
                        assert_eq!(alone.0, sums[row * dim_vp..(row + 1) * dim_vp], "{what}");
                        assert_eq!((alone.1[0], alone.2[0]), (max[row], total[row]), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn halves_of_every_kind_are_read_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    for isa in Isa::available() {
        for chunk in halves.chunks(16) {
            let mut y = [0f32; 16];
            let cells = Cells { base: chunk.as_ptr().cast(), row_bytes: 32, cells: &[0], dim: 16 };
            // SAFETY: a cell of 16 halves, and as many floats.
            unsafe { Kernels::new(isa).block_of_values(Type::F16, cells, y.as_mut_ptr()) };
            for (h, y) in chunk.iter().zip(y) {
                let exact = half_to_f32(*h);
                assert!(y == exact || y.is_nan() && exact.is_nan(), "{}: {h:#x} is {y}, not {exact}", isa.name());
            }
        }
    }
}
