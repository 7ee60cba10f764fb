//! Products at the limits: the largest levels and scales, zeros, numbers that are none, rows that end early.

use super::*;

/// Levels and scales at their limits: the 16-bit sums of some instruction sets must not overflow.
#[test]
fn extreme_blocks_do_not_overflow() {
    for ty in types().filter(|ty| ty.block_len() > 1) {
        for fill in [0xffu8, 0x80, 0x7f] {
            let mut case = Case::new(ty, 2, 256);
            for block in case.weights[1..].chunks_exact_mut(ty.block_bytes()) {
                let halves: &[usize] = match ty {
                    Type::Q6_K => &[208],
                    Type::Q4_0 | Type::Q5_0 | Type::Q8_0 | Type::IQ4_NL | Type::IQ4_XS => &[0],
                    Type::IQ2_XXS | Type::IQ2_XS | Type::IQ2_S | Type::IQ3_XXS | Type::IQ3_S | Type::IQ1_S => &[0],
                    Type::Q1_0 | Type::Q2_0 => &[0],
                    Type::TQ1_0 => &[52],
                    Type::Q2_K => &[80, 82],
                    Type::Q3_K => &[108],
                    Type::TQ2_0 => &[64],
                    Type::MXFP4 | Type::NVFP4 | Type::IQ1_M => &[],
                    _ => &[0, 2],
                };
                block.fill(fill);
                match ty {
                    Type::MXFP4 => block[0] = 126,
                    // The half 0x3400 in the top bits of four words.
                    Type::IQ1_M => [49, 51, 53, 55].into_iter().zip([0, 0, 4, 3]).for_each(|(at, top)| {
                        block[at] = block[at] & 15 | top << 4;
                    }),
                    _ => {}
                }
                for &at in halves {
                    block[at..at + 2].copy_from_slice(&0x3400u16.to_le_bytes());
                }
            }
            dequantize(ty, &case.weights[1..], &mut case.values);
            for isa in Isa::available() {
                let kernels = Kernels::new(isa);
                for n_tokens in [1, 16, 32] {
                    let x = vec![-1f32; 256 * n_tokens];
                    let fmt = act_format(ty);
                    let mut ws = Workspace::new(act_bytes(fmt, n_tokens, 256).unwrap());
                    let mut scratch = Workspace::new(scratch_bytes(ty, n_tokens, 256).unwrap());
                    let mut y = vec![0f32; 2 * n_tokens];
                    // SAFETY: the vectors above are as long as the shapes say.
                    unsafe {
                        kernels.prepare_acts(&one_part(fmt, &x, n_tokens, ws.start()));
                        let w = case.weights[1..].as_ptr();
                        let (acts, scratch, y) = (ws.start(), scratch.start(), y.as_mut_ptr());
                        let (rows, y_stride) = (0..2, 2);
                        kernels.matmul(&Product { w, rows, acts, n_tokens, scratch, y, y_stride, ..case.shape() });
                    }
                    let exact: f64 = case.values[..256].iter().map(|w| -f64::from(*w)).sum();
                    let size: f64 = case.values[..256].iter().map(|w| f64::from(w.abs())).sum();
                    // As above; the min and the levels may nearly cancel.
                    assert!(
                        (f64::from(y[0]) - exact).abs() <= 1e-4 * (size + 1.0),
                        "{} {fill}: {} {exact}",
                        ty.name(),
                        y[0]
                    );
                }
            }
        }
    }
}

/// The greatest halves: 32 products of a lane fit in 32 bits.
#[test]
fn extreme_halves_do_not_overflow() {
    for (ty, bits) in
        [(Type::F16, 0x7bffu16), (Type::F16, 0xfbff), (Type::BF16, 0x7a7f), (Type::BF16, 0x0200), (Type::F16, 1)]
    {
        let mut case = Case::new(ty, 3, 600);
        case.weights[1..].chunks_exact_mut(2).for_each(|w| w.copy_from_slice(&bits.to_le_bytes()));
        let mut weight = [0f32];
        dequantize(ty, &bits.to_le_bytes(), &mut weight);
        let exact = -600.0 * f64::from(weight[0]);
        for isa in Isa::available() {
            for n_tokens in [1, 8, 40] {
                let x = vec![-1f32; 600 * n_tokens];
                case.bias.fill(0.0);
                for y in case.product(&Kernels::new(isa), &x, 600, 3, n_tokens, 0..3) {
                    // The sum of few roundings of single precision; weights below 2^-115 may be taken as 0.
                    let close = (f64::from(y) - exact).abs() <= 1e-6 * exact.abs() + 600.0 * 2f64.powi(-115);
                    assert!(close, "{} {bits:#x} on {}: {y} instead of {exact}", ty.name(), isa.name());
                }
            }
        }
    }
}

#[test]
fn zero_and_not_a_number_activations() {
    for ty in types() {
        let case = Case::new(ty, 3, 256);
        let fmt = act_format(ty);
        for isa in Isa::available() {
            for (value, n_tokens) in [0.0, f32::NAN].into_iter().flat_map(|x| [(x, 1), (x, 16), (x, 32)]) {
                let mut x = vec![0.0; 256 * n_tokens];
                x.iter_mut().step_by(64).for_each(|x| *x = value);
                let mut ws = Workspace::new(act_bytes(fmt, n_tokens, 256).unwrap());
                let mut scratch = Workspace::new(scratch_bytes(ty, n_tokens, 256).unwrap());
                let mut y = vec![7f32; 3 * n_tokens];
                // SAFETY: the vectors above are as long as the shapes say.
                unsafe {
                    let k = Kernels::new(isa);
                    k.prepare_acts(&one_part(fmt, &x, n_tokens, ws.start()));
                    let w = case.weights[1..].as_ptr();
                    let (acts, scratch, y) = (ws.start(), scratch.start(), y.as_mut_ptr());
                    let (rows, y_stride) = (0..3, 3);
                    k.matmul(&Product { w, rows, acts, n_tokens, scratch, y, y_stride, ..case.shape() });
                }
                let as_asked = |y: &f32| if value == 0.0 { *y == 0.0 } else { y.is_nan() };
                assert!(y.iter().all(as_asked), "{} on {}: {value} gave {y:?}", ty.name(), isa.name());
            }
        }
    }
}

/// Wherever it is in a row, and however great the row's other weights are.
#[test]
fn weights_that_are_no_numbers() {
    for (ty, bits) in [(Type::F16, 0x7e00u16), (Type::F16, 0xfc01), (Type::BF16, 0x7fc0), (Type::BF16, 0xffff)] {
        for column in [0, 15, 16, 47, 255] {
            let mut case = Case::new(ty, 3, 256);
            case.weights[1 + column * 2..][..2].copy_from_slice(&bits.to_le_bytes());
            let x = Noise(3).vector(32 * 256);
            for isa in Isa::available() {
                for n_tokens in [1, 8, 32] {
                    let y = case.product(&Kernels::new(isa), &x[..n_tokens * 256], 256, 3, n_tokens, 0..3);
                    let as_asked = |row: &[f32]| !row[0].is_finite() && row[1].is_finite() && row[2].is_finite();
                    assert!(
                        y.chunks(3).all(as_asked),
                        "{} on {}: {bits:x} in column {column} gave {y:?}",
                        ty.name(),
                        isa.name()
                    );
                }
            }
        }
    }
}

/// A row that ends within 256 columns is read together with the start of the next one, whose values must not matter.
#[test]
fn the_next_row_does_not_matter() {
    // The row ends in the first half of a step, and in the second.
    let cases = [608, 864].into_iter().flat_map(|n| {
        [Type::Q8_0, Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1, Type::IQ4_NL, Type::MXFP4].map(|ty| (n, ty))
    });
    let longer = [(576, Type::Q2_0), (832, Type::Q2_0), (640, Type::Q1_0), (896, Type::Q1_0), (832, Type::NVFP4)];
    for (n_cols, ty) in cases.chain(longer) {
        let mut case = Case::new(ty, 21, n_cols);
        // Not-a-number as a half; the greatest power of two in MXFP4.
        for row in case.weights[1..].chunks_exact_mut(ty.row_bytes(n_cols).unwrap()).skip(1) {
            row.fill(0xff);
        }
        let x = Noise(3).vector(40 * n_cols);
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for n_tokens in [1, 4, 7, 16, 40] {
                let of = |rows| case.product(&kernels, &x[..n_tokens * n_cols], n_cols, 21, n_tokens, rows);
                let (alone, followed) = (of(0..1), of(0..21));
                for t in 0..n_tokens {
                    let (a, b) = (alone[21 * t], followed[21 * t]);
                    assert!(
                        a.is_finite() && a.to_bits() == b.to_bits(),
                        "{} on {}, token {t}: {a} {b}",
                        ty.name(),
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn workspace_sizes_are_checked() {
    for fmt in [ActFormat::F32, ActFormat::Q14x32, ActFormat::Q8x16] {
        assert_eq!(act_bytes(fmt, usize::MAX, 4096), None);
        assert_eq!(act_bytes(fmt, 4096, usize::MAX), None);
        assert_eq!(act_bytes(fmt, 3, 100).unwrap() % 64, 0);
        assert_eq!(act_bytes(fmt, 0, 100), Some(0));
    }
}
