//! The plan as JSON for programs. Keys are only ever added.

use serde_json::{Value, json};

use super::place::Objective;
use super::report::Plan;

fn objective(o: Objective) -> &'static str {
    match o {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
        Objective::Headroom => "headroom",
    }
}

impl Plan {
    /// The plan as one JSON object; all sizes in bytes.
    pub fn json(&self) -> String {
        let devices: Vec<Value> = self
            .devices
            .iter()
            .map(|d| {
                let device = &self.context.devices()[d.device as usize];
                json!({
                    "device": d.device,
                    "name": device.name,
                    "kind": device.kind.name(),
                    "described": device.described,
                    "board": device.board,
                    "image": device.image,
                    "peers": self.context.inventory().peers(d.device as usize).collect::<Vec<_>>(),
                    "total_bytes": d.total_bytes,
                    "free_bytes": d.free_bytes,
                    "weights_bytes": d.memory.weights,
                    "mapped_bytes": d.memory.mapped,
                    "kv_bytes": d.memory.kv,
                    "states_bytes": d.memory.states,
                    "compute_bytes": d.memory.compute,
                    "driver_bytes": d.memory.driver,
                    "first_layer": d.first_layer,
                    "n_layers": d.n_layers,
                    "n_expert_layers": d.n_expert_layers,
                    "has_output": d.has_output,
                    "shortfall_bytes": d.shortfall,
                })
            })
            .collect();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|l| {
                json!({
                    "layer": l.layer,
                    "device": l.device,
                    "devices": l.devices,
                    "experts_device": l.experts_device,
                    "weights_bytes": l.weights,
                    "kv_bytes": l.kv,
                    "reason": l.reason,
                })
            })
            .collect();
        let plan = json!({
            "schema": 1,
            "name": self.name,
            "architecture": self.architecture,
            "estimator": self.estimator,
            "loadable": self.loadable(),
            "objective": objective(self.objective),
            "fits": self.fits,
            "tightest_device": self.tightest().map(|(d, _)| d.device),
            "predicted": self.prediction.map(|p| json!({
                "decode_tokens_per_second": p.decode,
                "decode_full_tokens_per_second": p.decode_full,
                "prompt_tokens_per_second": p.prompt,
                "pipelined_tokens_per_second": p.pipelined,
            })),
            "n_layer": self.n_layer,
            "n_ctx": self.n_ctx,
            "n_ctx_source": self.n_ctx_source.name(),
            "n_ctx_train": self.n_ctx_train,
            "n_batch": self.n_batch,
            "n_ubatch": self.n_ubatch,
            "batch_source": self.batch_source.name(),
            "n_seq_max": self.n_seq_max,
            "n_outputs_max": self.n_outputs_max,
            "n_recurrent_layers": self.n_recurrent_layers,
            "n_checkpoints": self.n_checkpoints,
            "n_draft": self.n_draft,
            "pooling": self.pooling.map(|p| p.name()),
            "type_k": self.type_k.name(),
            "type_v": self.type_v.name(),
            "n_threads": self.n_threads,
            "devices": devices,
            "layers": layers,
            "reasons": self.reasons,
            "remedies": self.remedies(),
        });
        format!("{plan:#}\n")
    }
}
