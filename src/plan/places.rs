//! Places that the caller has chosen, by the names of tensors.
//!
//! The text is a list of pairs, `blk\.[0-2]\.ffn_.*_exps=CPU,^blk\.7\.=CUDA1`: a regular expression and a device. Of
//! the expressions that are found in a tensor's name the first one says where the tensor goes. What the caller does not
//! name is the planner's.
//!
//! The planner places layers, and the routed experts of layers apart from them on the CPU. So all tensors of such a
//! part must go to one place: a graph whose layers were torn apart would be another one. A pair that asks for anything
//! else is refused, with the tensor at fault.

use regex::{Regex, RegexBuilder};

use crate::device::{Inventory, Kind};
use crate::error::{Error, Result};
use crate::graph::{Graph, INPUT, Part};

/// The most bytes of the text, of an expression once it is compiled, and the most pairs.
const LONGEST: usize = 1 << 16;
const LARGEST: usize = 1 << 18;
/// The deepest nesting of an expression. Compiling it goes as deep on the host's stack.
const DEEPEST: u32 = 40;
const MOST: usize = 256;

/// The places of the units that the caller has chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// By unit: its device.
    pub layers: Vec<Option<u32>>,
    /// By unit: true if its routed experts are on the CPU, wherever the rest is.
    pub experts: Vec<bool>,
}

/// A part of a unit, with the tensors that it alone reads: their names, and the devices that the caller gives them.
#[derive(Default)]
struct Tensors<'a> {
    all: Vec<(&'a str, Option<u32>)>,
}

impl<'a> Tensors<'a> {
    /// The device of all; `None` if nothing is said of any.
    ///
    /// # Errors
    /// `InvalidArgument` naming two tensors that go to different places.
    fn device(&self) -> Result<Option<u32>> {
        let Some((first, device)) = self.all.iter().find(|(_, d)| d.is_some()) else { return Ok(None) };
        let Some((other, at)) = self.all.iter().find(|(_, d)| d != device) else { return Ok(*device) };
        let at = if at.is_some() { "goes to another device" } else { "is not named" };
        Err(bad(format!(
            "tensor '{first}' is named, but '{other}', which belongs to it, {at}; expected whole layers, or all routed \
             experts of a layer"
        )))
    }
}

fn bad(text: String) -> Error {
    Error::invalid(format!("placements: {text}")).subject("placements")
}

impl Places {
    /// Reads the caller's text for a graph. `takes` says which devices may have layers.
    ///
    /// # Errors
    /// `InvalidArgument` naming the pair or tensor at fault.
    pub fn new(text: &str, graph: &Graph, inventory: &Inventory, takes: impl Fn(usize) -> bool) -> Result<Places> {
        let n = graph.n_layer as usize + 1;
        let mut places = Places { layers: vec![None; n], experts: vec![false; n] };
        let pairs = pairs(text, inventory, takes)?;
        if pairs.is_empty() {
            return Ok(places);
        }
        let cpu = inventory.cpu() as u32;
        let mut used = vec![false; pairs.len()];
        let mut units: Vec<[Tensors; 2]> = (0..n).map(|_| Default::default()).collect();
        for (weight, readers) in graph.weights.iter().zip(readers(graph)) {
            let found = pairs.iter().position(|(_, regex, _)| regex.is_match(&weight.name));
            found.iter().for_each(|i| used[*i] = true);
            let device = found.map(|i| pairs[i].2);
            match readers[..] {
                // An adapter's tensors go where the tensors that they belong to go.
                _ if device.is_none() && weight.name.starts_with("adapter.") => {}
                [(unit, part)] if unit != INPUT => {
                    let part = usize::from(part == Part::Experts);
                    units[unit as usize][part].all.push((&weight.name, device));
                }
                // The input is the CPU's anyway, and what several layers read lies wherever one of them is.
                _ if device.is_some_and(|d| d != cpu) => {
                    let text = format!("tensor '{}' is no single layer's, so it cannot be placed", weight.name);
                    return Err(bad(text));
                }
                _ => {}
            }
        }
        if let Some(i) = used.iter().position(|used| !used) {
            let text = format!("'{}' names no tensor of the model that no earlier pair names", pairs[i].0);
            return Err(bad(text));
        }
        for (unit, [body, experts]) in units.iter().enumerate() {
            let (body, of_experts) = (body.device()?, experts.device()?);
            places.layers[unit] = body;
            places.experts[unit] = of_experts == Some(cpu) && body != Some(cpu);
            if of_experts.is_some_and(|d| d != cpu && body != Some(d)) {
                let name = experts.all[0].0;
                return Err(bad(format!("'{name}': experts apart from their layer can be on the CPU only")));
            }
        }
        Ok(places)
    }

    /// True if the caller has chosen no place.
    pub fn are_open(&self) -> bool {
        self.layers.iter().all(Option::is_none) && !self.experts.contains(&true)
    }

    /// True if layers are to be on a device.
    pub fn names(&self, device: usize) -> bool {
        self.layers.contains(&Some(device as u32))
    }

    /// The reasons for a plan that these are.
    pub fn reasons(&self, inventory: &Inventory) -> Vec<String> {
        let mut out = Vec::new();
        let places = (0..inventory.devices.len()).map(|d| {
            let layers = numbers(self.layers.iter().map(|at| *at == Some(d as u32)));
            layers.map(|layers| format!("{layers} on device {d}: placements"))
        });
        out.extend(places.flatten());
        out.extend(
            numbers(self.experts.iter().copied()).map(|layers| format!("experts of {layers} on the CPU: placements")),
        );
        out
    }
}

/// `layers 0-3, 7`, for the units that are chosen.
fn numbers(chosen: impl Iterator<Item = bool>) -> Option<String> {
    let units: Vec<usize> = chosen.enumerate().filter(|(_, chosen)| *chosen).map(|(unit, _)| unit).collect();
    let runs = units.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    let runs: Vec<String> = runs.collect();
    (!runs.is_empty()).then(|| format!("layers {}", runs.join(", ")))
}

/// Of each weight the units and parts that read it.
fn readers(graph: &Graph) -> Vec<Vec<(u32, Part)>> {
    let mut readers = vec![Vec::new(); graph.weights.len()];
    for node in &graph.nodes {
        for read in graph.reads(node) {
            let of = &mut readers[read.weight.0 as usize];
            if !of.contains(&(node.layer, node.part)) {
                of.push((node.layer, node.part));
            }
        }
    }
    readers
}

/// The pairs of a text: each as it is written, its expression and its device.
fn pairs<'t>(
    text: &'t str,
    inventory: &Inventory,
    takes: impl Fn(usize) -> bool,
) -> Result<Vec<(&'t str, Regex, u32)>> {
    if text.len() > LONGEST {
        return Err(bad(format!("the text has {} bytes, the most is {LONGEST}", text.len())));
    }
    let mut out = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        if out.len() == MOST {
            return Err(bad(format!("there are more than {MOST} pairs")));
        }
        let Some((expression, device)) = pair.rsplit_once('=') else {
            return Err(bad(format!("'{pair}' has no '=', expected EXPRESSION=DEVICE")));
        };
        let regex = RegexBuilder::new(expression).size_limit(LARGEST).nest_limit(DEEPEST).build();
        let regex = regex.map_err(|e| bad(format!("'{expression}' is no regular expression: {e}")))?;
        let number = device.strip_prefix("CUDA").and_then(|n| n.parse::<usize>().ok());
        let die = number.filter(|n| inventory.devices.get(*n).is_some_and(|d| d.kind == Kind::Cuda));
        let found = if device == "CPU" { Some(inventory.cpu()) } else { die };
        let Some(found) = found.filter(|d| takes(*d)) else {
            let text =
                format!("'{pair}' names device '{device}', expected CPU or CUDA0, CUDA1 and so on that takes layers");
            return Err(bad(text));
        };
        out.push((pair, regex, found as u32));
    }
    Ok(out)
}
