//! The family's formulas as an estimator of plans.

use super::{DEFAULT_MARGIN, DEFAULT_MINIMUM, Gpu, Query, Shape, Share, estimate};
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::plan::estimator::{Estimate, Estimator};
use crate::plan::memory::Memory;
use crate::plan::params::Source;
use crate::plan::report::{DevicePlan, LayerPlan};
use crate::plan::request::Request;
use crate::quant::Type;

/// An estimate for comparison, and for architectures whose graph does not exist yet. The bytes that it keeps free on a
/// GPU are shown as the driver's share.
pub(in crate::plan) struct Family {
    /// The reason why the file cannot be measured, if that was tried.
    pub unmeasured: Option<String>,
}

impl Estimator for Family {
    fn name(&self) -> &'static str {
        "family"
    }

    fn estimate(&self, r: &Request<'_>) -> Result<Estimate> {
        if r.predicts() {
            let text = format!("n_draft is {}, but a plan by the family's formulas has no drafts", r.n_draft);
            return Err(Error::unsupported(text).subject("n_draft"));
        }
        let shape = Shape::read(r.file)?;
        let devices = r.context.devices();
        let cpu = r.context.inventory().cpu();
        let dies: Vec<usize> =
            (0..cpu).filter(|d| r.sites[*d].takes_layers() && devices[*d].kind == Kind::Cuda).collect();
        let gpus: Vec<Gpu> = dies
            .iter()
            .map(|d| Gpu {
                free: devices[*d].free_bytes,
                overhead: devices[*d]
                    .free_bytes
                    .saturating_sub(devices[*d].driver_bytes)
                    .saturating_sub(r.sites[*d].room),
            })
            .collect();
        let (type_k, type_v) = (r.params.type_k.unwrap_or(Type::F16), r.params.type_v.unwrap_or(Type::F16));
        let margin = if r.params.margin > 0.0 { r.params.margin } else { DEFAULT_MARGIN };
        let query = Query {
            n_ctx: r.n_ctx / r.n_seq_max,
            n_seq: r.n_seq_max,
            n_batch: r.batch.n_batch,
            type_k,
            type_v,
            margin,
            minimum: DEFAULT_MINIMUM,
            gpus: &gpus,
        };
        let e = estimate(&shape, &query);
        let share_of = |d: usize| e.gpus.iter().find(|s| dies[s.gpu] == d);
        let n_layer = shape.n_layer();
        let output_on_die = e.gpus.iter().any(|s| s.layers.contains(&n_layer));
        let on_cpu = Share {
            gpu: 0,
            layers: 0..e.cpu_layers,
            weights: e.cpu_weights,
            kv: e.cpu_kv,
            graph: if e.cpu_layers > 0 { e.partial } else { 0 },
            reserved: 0,
        };
        let plan_of = |d: usize| {
            let none = Share { gpu: 0, layers: 0..0, weights: 0, kv: 0, graph: 0, reserved: 0 };
            let share = if d == cpu { &on_cpu } else { share_of(d).unwrap_or(&none) };
            let has_output = if d == cpu { !output_on_die } else { share.layers.contains(&n_layer) };
            let memory = Memory {
                states: 0,
                weights: share.weights,
                mapped: 0,
                kv: share.kv,
                compute: share.graph,
                driver: share.reserved,
            };
            let room = if d == cpu && !r.sites[cpu].takes_layers() { 0 } else { devices[d].free_bytes };
            DevicePlan {
                device: d as u32,
                memory,
                free_bytes: devices[d].free_bytes,
                total_bytes: devices[d].total_bytes,
                first_layer: share.layers.start,
                n_layers: share.layers.len() as u32 - u32::from(has_output && !share.layers.is_empty()),
                n_expert_layers: 0,
                has_output,
                shortfall: memory.needed().saturating_sub(room),
            }
        };
        let plans: Vec<DevicePlan> = (0..devices.len()).map(plan_of).collect();
        let device_of = |layer: u32| {
            let on_die = e.gpus.iter().find(|s| s.layers.contains(&layer)).map(|s| dies[s.gpu]);
            on_die.unwrap_or(cpu) as u32
        };
        let layers = (0..=n_layer)
            .map(|layer| LayerPlan {
                layer,
                device: device_of(layer),
                devices: vec![device_of(layer)],
                experts_device: device_of(layer),
                weights: shape.layer_weights.get(layer as usize).copied().unwrap_or(shape.output_weights),
                kv: e.layer_kv.get(layer as usize).copied().unwrap_or(0),
                reason: "the family's placement".to_owned(),
            })
            .collect();
        let mut reasons = vec![format!("formulas of family '{}', margin {margin} on compute buffers", r.architecture)];
        reasons.extend(self.unmeasured.iter().map(|why| format!("not measured: {why}")));
        Ok(Estimate {
            n_layer,
            n_ctx: r.n_ctx,
            n_ctx_source: if r.params.n_ctx > 0 { Source::Caller } else { Source::File },
            type_k,
            type_v,
            fits: plans.iter().all(|d| d.shortfall == 0),
            devices: plans,
            layers,
            reasons,
            prediction: None,
            exact: None,
        })
    }
}
