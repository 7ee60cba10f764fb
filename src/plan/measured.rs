//! The measured estimator: the graph that will run, placed by search, every byte from its own layout.

use super::chain::{Ranges, SPARE};
use super::estimator::{Estimate, Estimator};
use super::params::Source;
use super::report::{DevicePlan, Exact, LayerPlan};
use super::request::Request;
use super::search::Model;
use super::why;
use crate::error::Result;

impl Estimator for Model {
    fn name(&self) -> &'static str {
        "measured"
    }

    fn estimate(&self, r: &Request<'_>) -> Result<Estimate> {
        let mut units = self.units(r);
        let (found, mut reasons) = self.best(r, &mut units)?;
        if found.source == Source::Limited {
            let spare = if r.spares() { format!(" with 1/{SPARE} of each device to spare") } else { String::new() };
            reasons.push(format!(
                "n_ctx {}: the largest that fits{spare}; the model was trained for {}",
                found.n_ctx, r.n_ctx_train
            ));
        }
        reasons.extend(self.places.reasons(r.context.inventory()));
        if !found.fits && !self.places.are_open() {
            let mut chain = Ranges::new(&units, found.types, found.n_ctx, r.batch.n_ubatch)?;
            if self.least_lack(&mut chain, u32::MAX, usize::MAX)? == u64::MAX {
                let text =
                    "no order of the devices, each with neighbouring layers, goes with the placements and limits";
                reasons.push(text.to_owned());
            }
        }
        reasons.extend(why::why_these(self, r, &units, &found)?);
        let devices: Vec<DevicePlan> = r
            .context
            .devices()
            .iter()
            .enumerate()
            .map(|(i, d)| {
                let memory = found.arenas.memory[i];
                let n_layers =
                    found.placement.layers[..self.graph.n_layer as usize].iter().filter(|l| **l == i as u32).count();
                let first = found.choice.segments.iter().find(|s| s.stage == i).map_or(0, |s| s.first);
                DevicePlan {
                    device: i as u32,
                    memory,
                    free_bytes: d.free_bytes,
                    total_bytes: d.total_bytes,
                    first_layer: first as u32,
                    n_layers: n_layers as u32,
                    n_expert_layers: found.experts_on(i as u32) as u32,
                    has_output: found.placement.layers.last() == Some(&(i as u32)),
                    shortfall: match memory.needed() - memory.driver {
                        0 => 0,
                        n => n.saturating_add(r.sites[i].kept).saturating_sub(d.free_bytes),
                    },
                }
            })
            .collect();
        let layers = (0..=self.graph.n_layer)
            .map(|layer| LayerPlan {
                layer,
                device: found.placement.layers[layer as usize],
                experts_device: *found
                    .placement
                    .experts
                    .get(layer as usize)
                    .unwrap_or(&found.placement.layers[layer as usize]),
                weights: found.arenas.layer_weights[layer as usize],
                kv: found.arenas.layer_states[layer as usize],
                reason: why::reason_of(r, &found, layer as usize),
            })
            .collect();
        let prediction = Some(self.predict(r, &units, &found, &found.choice.segments, found.choice.split)?);
        let exact = Exact {
            hparams: self.hparams.clone(),
            graph: self.graph.clone(),
            arenas: found.arenas,
            placement: found.placement,
        };
        reasons.extend(exact.uncomputable(r.context.devices()).map(|e| format!("cannot be loaded: {e}")));
        Ok(Estimate {
            n_layer: self.graph.n_layer,
            n_ctx: found.n_ctx,
            n_ctx_source: found.source,
            type_k: found.types.0,
            type_v: found.types.1,
            fits: found.fits,
            prediction,
            devices,
            layers,
            reasons,
            exact: Some(exact),
        })
    }
}
