//! Products against those of the dequantised weights, and alone against among others.

use super::*;

#[test]
fn products_are_those_of_the_dequantised_weights() {
    for ty in types() {
        // Two steps and a part of one where the type allows it.
        let n_cols = 512 + if ty.block_len() < 64 { 96 } else { ty.block_len() };
        let case = Case::new(ty, 37, n_cols);
        for isa in Isa::available() {
            for n_tokens in [1, 2, 3, 7, 16, 23, 33] {
                for rows in [0..37, 5..6, 3..20] {
                    case.check(isa, n_tokens, rows);
                }
            }
        }
    }
}

#[test]
fn rows_of_any_length_work() {
    for (ty, lengths) in [
        (Type::F32, &[1, 15, 17, 255, 300][..]),
        (Type::F16, &[1, 33, 257]),
        (Type::BF16, &[7, 40]),
        (Type::Q8_0, &[32, 64, 288]),
        (Type::Q4_0, &[32, 224]),
        (Type::Q5_1, &[32, 480]),
        (Type::NVFP4, &[64, 192, 448]),
        (Type::Q1_0, &[128, 384]),
        (Type::Q2_0, &[64, 320]),
    ] {
        for &n_cols in lengths {
            let case = Case::new(ty, 5, n_cols);
            for isa in Isa::available() {
                for n_tokens in [1, 6, 18] {
                    case.check(isa, n_tokens, 0..5);
                }
            }
        }
    }
}

/// Each token's products are the same bits alone and with others, of all rows at once and of some.
#[test]
fn products_do_not_depend_on_the_batch() {
    for ty in types() {
        let lengths: &[usize] = match ty.block_len() {
            1 => &[70, 512, 1000],
            32 => &[32, 512, 992],
            64 | 128 => &[128, 512, 896],
            // Enough steps that they are done in pieces.
            _ => &[256, 1280, 256 * 27],
        };
        for &n_cols in lengths {
            let case = Case::new(ty, 21, n_cols);
            let x = Noise(5).vector(300 * n_cols);
            for isa in Isa::available() {
                let kernels = Kernels::new(isa);
                let single = |t: usize| case.product(&kernels, &x[t * n_cols..][..n_cols], n_cols, 21, 1, 0..21);
                let alone: Vec<f32> = (0..40).flat_map(single).collect();
                for n_tokens in [1, 2, 3, 5, 7, 16, 17, 24, 27, 40, 300] {
                    for rows in [0..21, 3..20] {
                        let y = case.product(&kernels, &x[..n_tokens * n_cols], n_cols, 21, n_tokens, rows.clone());
                        for (t, (y, alone)) in y.chunks(21).zip(alone.chunks(21)).enumerate() {
                            let bits = |y: &[f32]| y[rows.clone()].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                            let name = ty.name();
                            assert_eq!(
                                bits(y),
                                bits(alone),
                                "{name}, {n_cols} columns, {}, token {t} of {n_tokens}",
                                isa.name()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn many_tokens_pass_a_panel() {
    let case = Case::new(Type::Q4_K, 18, 256);
    case.check(Isa::available()[Isa::available().len() - 1], 16 * 16 + 40, 0..18);
    let case = Case::new(Type::F16, 18, 256);
    case.check(Isa::available()[Isa::available().len() - 1], 16 * 16 + 40, 1..18);
}

/// Rounded in lanes, products of halves are as near to the exact ones as with activations rounded to F16.
#[test]
fn rounding_in_lanes_is_as_fine_as_f16() {
    let (n_rows, n_cols) = (64, 1024);
    let mut noise = Noise(4);
    // Nearly normal, and a few columns 20 times as large, as models have them.
    let mut normal = || (0..8).map(|_| noise.next()).sum::<f32>();
    let x: Vec<f32> = (0..n_cols).map(|i| normal() * if i % 100 == 7 { 20.0 } else { 1.0 }).collect();
    let w: Vec<f32> = (0..n_rows * n_cols).map(|_| normal() * 0.02).collect();
    let mut case = Case::new(Type::F16, n_rows, n_cols);
    w.chunks(n_cols).zip(case.weights[1..].chunks_exact_mut(2 * n_cols)).for_each(|(w, to)| quantize(Type::F16, w, to));
    let mut w = vec![0f32; n_rows * n_cols];
    dequantize(Type::F16, &case.weights[1..], &mut w);
    case.bias.fill(0.0);
    let (mut halves, mut in_halves) = (vec![0u8; 2 * n_cols], vec![0f32; n_cols]);
    quantize(Type::F16, &x, &mut halves);
    dequantize(Type::F16, &halves, &mut in_halves);
    let sum = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
    for isa in Isa::available() {
        let y = case.product(&Kernels::new(isa), &x, n_cols, n_rows, 1, 0..n_rows);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (row, y) in w.chunks(n_cols).zip(y) {
            ours += (f64::from(y) - sum(row, &x)).powi(2);
            theirs += (sum(row, &in_halves) - sum(row, &x)).powi(2);
        }
        assert!(ours <= theirs, "{}: square error {ours:e}, with activations as F16 {theirs:e}", isa.name());
    }
}
