use super::*;

/// The types whose values are known.
fn known() -> impl Iterator<Item = Type> {
    Type::ALL.iter().copied().filter(|ty| ty.on_cpu())
}

/// Blocks and values made by tests/fixtures/quant/make.py with the gguf package or the reference's own code.
const FIXTURES: [(Type, &[u8]); 27] = [
    (Type::F16, include_bytes!("../../tests/fixtures/quant/F16.bin")),
    (Type::BF16, include_bytes!("../../tests/fixtures/quant/BF16.bin")),
    (Type::Q8_0, include_bytes!("../../tests/fixtures/quant/Q8_0.bin")),
    (Type::Q4_0, include_bytes!("../../tests/fixtures/quant/Q4_0.bin")),
    (Type::Q4_1, include_bytes!("../../tests/fixtures/quant/Q4_1.bin")),
    (Type::Q5_0, include_bytes!("../../tests/fixtures/quant/Q5_0.bin")),
    (Type::Q5_1, include_bytes!("../../tests/fixtures/quant/Q5_1.bin")),
    (Type::Q4_K, include_bytes!("../../tests/fixtures/quant/Q4_K.bin")),
    (Type::Q5_K, include_bytes!("../../tests/fixtures/quant/Q5_K.bin")),
    (Type::Q6_K, include_bytes!("../../tests/fixtures/quant/Q6_K.bin")),
    (Type::MXFP4, include_bytes!("../../tests/fixtures/quant/MXFP4.bin")),
    (Type::IQ4_NL, include_bytes!("../../tests/fixtures/quant/IQ4_NL.bin")),
    (Type::IQ4_XS, include_bytes!("../../tests/fixtures/quant/IQ4_XS.bin")),
    (Type::Q2_K, include_bytes!("../../tests/fixtures/quant/Q2_K.bin")),
    (Type::Q3_K, include_bytes!("../../tests/fixtures/quant/Q3_K.bin")),
    (Type::TQ2_0, include_bytes!("../../tests/fixtures/quant/TQ2_0.bin")),
    (Type::IQ3_XXS, include_bytes!("../../tests/fixtures/quant/IQ3_XXS.bin")),
    (Type::IQ3_S, include_bytes!("../../tests/fixtures/quant/IQ3_S.bin")),
    (Type::IQ2_XXS, include_bytes!("../../tests/fixtures/quant/IQ2_XXS.bin")),
    (Type::IQ2_XS, include_bytes!("../../tests/fixtures/quant/IQ2_XS.bin")),
    (Type::IQ2_S, include_bytes!("../../tests/fixtures/quant/IQ2_S.bin")),
    (Type::NVFP4, include_bytes!("../../tests/fixtures/quant/NVFP4.bin")),
    (Type::TQ1_0, include_bytes!("../../tests/fixtures/quant/TQ1_0.bin")),
    (Type::IQ1_S, include_bytes!("../../tests/fixtures/quant/IQ1_S.bin")),
    (Type::IQ1_M, include_bytes!("../../tests/fixtures/quant/IQ1_M.bin")),
    (Type::Q1_0, include_bytes!("../../tests/fixtures/quant/Q1_0.bin")),
    (Type::Q2_0, include_bytes!("../../tests/fixtures/quant/Q2_0.bin")),
];

#[test]
fn values_are_those_of_the_reference() {
    let missing = |ty: &Type| *ty != Type::F32 && !FIXTURES.iter().any(|(have, _)| have == ty);
    assert_eq!(known().find(missing), None);
    for (ty, file) in FIXTURES {
        let n_blocks = file.len() / (ty.block_bytes() + 4 * ty.block_len());
        let (blocks, values) = file.split_at(n_blocks * ty.block_bytes());
        let mut ours = vec![0f32; n_blocks * ty.block_len()];
        dequantize(ty, blocks, &mut ours);
        for (i, (a, b)) in ours.iter().zip(values.chunks_exact(4)).enumerate() {
            let b = f32::from_le_bytes(b.try_into().unwrap());
            // The same single-precision operations in the same order: the same bits (but for the sign of zero).
            assert!(*a == b, "{} element {i}: {a} is not {b}", ty.name());
        }
    }
}

#[test]
fn quantised_values_are_near() {
    let mut state = 1u32;
    let x: Vec<f32> = (0..1024)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    for ty in known() {
        let mut bytes = vec![0; ty.row_bytes(x.len()).unwrap()];
        quantize(ty, &x, &mut bytes);
        let mut back = vec![0f32; x.len()];
        dequantize(ty, &bytes, &mut back);
        // Half the distance of two levels over a range of 2, and as much again for the rounding of scales and mins.
        let levels = match ty {
            Type::F32 => f32::INFINITY,
            Type::F16 => 2048.0,
            Type::BF16 => 256.0,
            Type::Q8_0 => 254.0,
            Type::Q6_K => 62.0,
            Type::Q5_0 | Type::Q5_1 | Type::Q5_K => 31.0,
            // Elements of more than 6 of the block's power of two, up to 8, become 6.
            Type::MXFP4 | Type::NVFP4 => 8.0,
            Type::Q3_K => 7.0,
            Type::Q2_K => 3.0,
            Type::TQ1_0 | Type::TQ2_0 => 2.0,
            Type::Q1_0 | Type::Q2_0 => 3.0,
            // Their grids lack most groups of levels, and where seven signs of eight are stored, one may be wrong.
            Type::IQ1_S | Type::IQ1_M => 2.5,
            Type::IQ2_XXS | Type::IQ2_XS => 3.0,
            Type::IQ3_XXS => 3.5,
            Type::IQ2_S | Type::IQ3_S => 4.0,
            _ => 15.0,
        };
        for (a, b) in x.iter().zip(&back) {
            assert!((a - b).abs() <= 2.0 * (2.0 / levels) / 2.0, "{}: {a} became {b}", ty.name());
        }
    }
}

/// Of the types of blocks that a KV cache may have.
#[test]
fn what_is_no_number_stays_so_in_a_cache() {
    for (ty, at) in [Type::Q8_0, Type::Q4_0].into_iter().flat_map(|ty| [0, 5, 31].map(|at| (ty, at))) {
        let mut x = [1f32; 64];
        x[at] = f32::NAN;
        let (mut bytes, mut back) = (vec![0; ty.row_bytes(64).unwrap()], [0f32; 64]);
        quantize(ty, &x, &mut bytes);
        dequantize(ty, &bytes, &mut back);
        let name = ty.name();
        assert!(back[at].is_nan() && back[32..].iter().all(|v| (v - 1.0).abs() < 1e-3), "{name} {at}: {back:?}");
    }
}

#[test]
fn zeros_stay_zeros() {
    for ty in known() {
        let mut bytes = vec![1; ty.row_bytes(512).unwrap()];
        quantize(ty, &[0.0; 512], &mut bytes);
        let mut back = [1f32; 512];
        dequantize(ty, &bytes, &mut back);
        assert!(back.iter().all(|v| *v == 0.0), "{}", ty.name());
    }
}
