//! The vector helpers.

use super::*;

#[test]
fn vector_helpers() {
    for isa in Isa::available() {
        let k = Kernels::new(isa);
        for n in [1, 16, 31, 64, 96, 128, 129] {
            let mut noise = Noise(n as u64);
            let (a, b) = (noise.vector(n), noise.vector(n));
            let dot = |a: &[f32]| a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            // Sums of at most 129 products below 1, in single precision.
            let near = |x: f32, y: f64| assert!((f64::from(x) - y).abs() < 1e-5, "{} {n}: {x} {y}", isa.name());
            near(k.dot_f32(&a, &b), dot(&a));
            let mut e: Vec<f32> = a.iter().map(|v| v * 40.0 - 40.0).collect();
            e[0] = f32::NEG_INFINITY;
            let before = e.clone();
            let sum = k.exp_inplace(&mut e, 1.5);
            near(sum, e.iter().map(|v| f64::from(*v)).sum());
            for (x, e) in before.iter().zip(&e) {
                let exact = f64::from(x - 1.5).exp();
                // 2 units in the last place; less than 1e-38 is 0.
                assert!((f64::from(*e) - exact).abs() <= 2.5e-7 * exact + 1e-38, "{}: exp {x} is {e}", isa.name());
            }
            let gate: Vec<f32> = a.iter().map(|v| v * 100.0).collect();
            let mut out = vec![0.0; n];
            k.silu_mul(&gate, &b, &mut out);
            for i in 0..n {
                let g = f64::from(gate[i]);
                let exact = g / (1.0 + (-g).exp()) * f64::from(b[i]);
                assert!(
                    (f64::from(out[i]) - exact).abs() <= 1e-6 * exact.abs() + 1e-30,
                    "silu({g}) {} {exact}",
                    out[i]
                );
            }
        }
    }
}
