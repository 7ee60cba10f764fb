//! Placement as the fork does it (ollama37). It goes from the last layer to the first, and round the GPUs that still
//! have room.

use super::{Estimate, Query, Shape, Share};

/// Places every layer on `gpus`. `full` and `partial` are the compute buffers F and P, margin included.
pub(super) fn place(shape: &Shape, q: &Query, gpus: &[usize], layer_kv: Vec<u64>, full: u64, partial: u64) -> Estimate {
    let sum = |parts: &[u64]| parts.iter().copied().fold(0, u64::saturating_add);
    // Several GPUs are always charged the partial buffer.
    let charged_if_all = if gpus.len() > 1 { partial } else { full };
    let graph = charged_if_all.max(partial);
    let layer = |i: usize| (shape.layer_weights[i], layer_kv[i]);
    let first = sum(&[shape.layer_weights[0], layer_kv[0]]);

    let mut shares: Vec<Share> =
        gpus.iter().map(|gpu| Share { gpu: *gpu, layers: 0..0, weights: 0, kv: 0, graph: 0, reserved: 0 }).collect();
    let mut counts = vec![0u32; gpus.len()];
    let mut open = Vec::new();
    for (s, share) in shares.iter_mut().enumerate() {
        let gpu = q.gpus[share.gpu];
        if gpu.free >= sum(&[gpu.overhead, graph, q.minimum, first, first]) {
            // From here on this is counted as allocated. Only so do the published sizes come out.
            share.reserved = sum(&[q.minimum, first]);
            open.push(s);
        }
    }
    let mut try_on = |s: usize, weights: u64, kv: u64| {
        let share = &mut shares[s];
        let gpu = q.gpus[share.gpu];
        let fits = gpu.free > sum(&[gpu.overhead, share.bytes(), graph, weights, kv]);
        if fits {
            share.weights = share.weights.saturating_add(weights);
            share.kv = share.kv.saturating_add(kv);
            counts[s] += 1;
        }
        fits
    };

    let (mut placed, mut cpu_weights, mut cpu_kv) = (0u32, 0u64, 0u64);
    for i in (0..layer_kv.len()).rev() {
        let (weights, kv) = layer(i);
        while !open.is_empty() && !try_on(open[i % open.len()], weights, kv) {
            open.remove(i % open.len());
        }
        if open.is_empty() {
            cpu_weights = cpu_weights.saturating_add(weights);
            cpu_kv = cpu_kv.saturating_add(kv);
        } else {
            placed += 1;
        }
    }
    // There is one attempt: if a GPU has no room for the output, no other one is tried.
    if !open.is_empty() && try_on(open[placed as usize % open.len()], shape.output_weights, 0) {
        placed += 1;
    } else {
        cpu_weights = cpu_weights.saturating_add(shape.output_weights);
    }

    let n_layer = shape.n_layer();
    let fits = placed == n_layer + 1;
    // The last layers go to the GPUs, in order; the output only with all of them.
    let mut next = n_layer.saturating_sub(placed);
    for (share, count) in shares.iter_mut().zip(&counts) {
        share.layers = next..next + count;
        next += count;
        if *count > 0 {
            share.graph = if fits { charged_if_all } else { partial };
        }
    }
    Estimate { full, partial, layer_kv, gpus: shares, cpu_layers: n_layer + 1 - placed, cpu_weights, cpu_kv, fits }
}
