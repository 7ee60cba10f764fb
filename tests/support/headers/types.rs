//! Weight types as the reference's quantiser chooses them for Q4_K_M.

use rekindle::quant::Type;

use super::writer::Tensor;

/// `want`, or what the quantiser falls back to where rows are no multiple of the block.
pub(super) fn fitting(want: Type, row: u64) -> Type {
    let fallback = match want {
        Type::Q4_K => Type::Q5_0,
        Type::Q5_K => Type::Q5_1,
        Type::Q6_K => Type::Q8_0,
        other => other,
    };
    let ty = [want, fallback].into_iter().find(|t| row.is_multiple_of(t.block_len() as u64));
    ty.unwrap_or(Type::F16)
}

/// Layers whose attn_v and ffn_down get Q6_K: the first and the last eighth, and every third between.
pub(super) fn more_bits(layer: u32, layers: u32) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// Gives every matrix its type by its name. Matrices that make values (attn_v and attn_qkv) are counted among
/// themselves, since not every layer has one; ffn_down goes by the layer.
pub(super) fn q4_k_m(tensors: &mut [Tensor], layers: u32) {
    let tied = tensors.iter().all(|t| t.name != "output.weight");
    let values = tensors.iter().filter(|t| makes_values(&t.name)).count() as u32;
    let mut value = 0;
    for t in tensors.iter_mut().filter(|t| quantised(t)) {
        let high = match t.name.as_str() {
            "output.weight" => true,
            "token_embd.weight" | "per_layer_token_embd.weight" => tied,
            name if makes_values(name) => {
                value += 1;
                more_bits(value - 1, values)
            }
            name => name.contains("ffn_down") && more_bits(layer(name), layers),
        };
        t.ty = fitting(if high { Type::Q6_K } else { Type::Q4_K }, t.shape[0]);
    }
}

fn makes_values(name: &str) -> bool {
    ["attn_v.weight", "attn_qkv.weight"].iter().any(|role| name.ends_with(role))
}

/// Vectors, norms, routers, kernels of convolutions and the projection of gemma4's second embedding stay as they are.
fn quantised(t: &Tensor) -> bool {
    let kept = ["_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv.weight", "per_layer_model_proj"];
    t.shape.len() > 1 && t.name.ends_with("weight") && !kept.iter().any(|part| t.name.contains(part))
}

/// The layer that a name begins with.
fn layer(name: &str) -> u32 {
    name.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name} is of no layer"))
}
