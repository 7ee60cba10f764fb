//! Keys that say how layers differ: windows and their rotation, sections of a rotation, caches that layers share.

use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::graph::{Rope, Sections};

impl Keys<'_> {
    /// Tokens that a token sees in layers with a window.
    pub fn window(&self) -> Result<u32> {
        self.size("attention.sliding_window", i32::MAX as u32)
    }

    /// True for each layer that sees a window only, in families whose every n-th layer, from the first on, sees all; n
    /// is `attention.sliding_window_pattern`, or `default`.
    pub fn local_layers_after(&self, n_layer: u32, default: u32) -> Result<Vec<bool>> {
        let key = "attention.sliding_window_pattern";
        if let Some(Value::Array(_)) = self.file.get(&self.name(key)) {
            return self.local_layers(n_layer, None);
        }
        let n = self.u32(key)?.unwrap_or(default);
        Ok((0..n_layer).map(|i| n == 0 || i % n != 0).collect())
    }

    /// The bounds of queries, keys and values, if the file has such.
    pub fn clamp(&self) -> Result<Option<f32>> {
        self.positive("attention.clamp_kqv")
    }

    /// The cap of logits in families that have one of 30 if the file does not say it.
    pub fn logit_softcap(&self) -> Result<Option<f32>> {
        let key = "final_logit_softcapping";
        Ok(if self.f32(key)?.is_none() { Some(30.0) } else { self.positive(key)? })
    }

    /// The rotation of layers with a window, if it has a base of its own.
    pub fn local_rope(&self, h: &Hparams) -> Result<Option<Rope>> {
        Ok(self.positive("rope.freq_base_swa")?.map(|freq_base| Rope { freq_base, ..h.rope.clone() }))
    }

    /// The rotation of layers with a window in families that turn `n_rot` elements there, unscaled, and by a base of
    /// 10000 if the file names none.
    pub fn unscaled_rope(&self, h: &Hparams, n_rot: usize) -> Result<Rope> {
        let freq_base = self.positive("rope.freq_base_swa")?.unwrap_or(10000.0);
        Ok(Rope { n_rot, freq_base, freq_scale: 1.0, ..h.rope.clone() })
    }

    /// The number of elements that turn in layers with a window, whose keys have `key` elements.
    pub fn local_rotation(&self, h: &Hparams, key: usize) -> Result<usize> {
        let name = "rope.dimension_count_swa";
        let n = self.u32(name)?.map_or(h.rope.n_rot, |n| n as usize);
        if n == 0 || !n.is_multiple_of(2) || n > key {
            return Err(self.bad(name, n, &format!("an even number up to the head length {key}")));
        }
        Ok(n)
    }

    /// The sections of the rotation, if the file has such.
    pub fn sections(&self, interleaved: bool) -> Result<Option<Sections>> {
        let key = "rope.dimension_sections";
        let Some(value) = self.file.get(&self.name(key)) else { return Ok(None) };
        let four = |found: &str| self.bad(key, found, "an array of four numbers of pairs");
        let Value::Array(a) = value else { return Err(four("no array")) };
        let all = a.u64s().map_err(|e| e.at(&self.name(key)))?;
        let counts: Vec<u32> = all.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
        let counts: [u32; 4] = counts.try_into().map_err(|_| four(&format!("an array of {}", all.len())))?;
        Ok((counts[0] > 0 && counts[1] > 0).then_some(Sections { counts, interleaved }))
    }

    /// The layer whose cache each layer reads, if that is an earlier one: the last layers share the caches of the last
    /// two that have their own, one with a window and one without.
    pub fn shared_caches(&self, h: &Hparams, local: &[bool]) -> Result<Vec<Option<u32>>> {
        let key = "attention.shared_kv_layers";
        let n_shared = self.u32(key)?.unwrap_or(0);
        // The layers that predict count, too.
        let n_all = self.u32("block_count")?.unwrap_or(h.n_layer);
        let first = n_all.saturating_sub(n_shared);
        if n_shared > 0 && first < 2 {
            let most = n_all.saturating_sub(2);
            return Err(self.bad(key, n_shared, &format!("at most {most}: two layers have caches of their own")));
        }
        let of = |i: u32, local: bool| (i >= first).then(|| first - if local { 2 } else { 1 });
        let all: Vec<Option<u32>> = (0..h.n_layer).zip(local).map(|(i, local)| of(i, *local)).collect();
        match all.iter().zip(local).find(|(own, kind)| own.is_some_and(|l| local[l as usize] != **kind)) {
            None => Ok(all),
            Some(_) => {
                let expected = "a number before which stand a layer with a window and one without";
                Err(self.bad(key, n_shared, expected))
            }
        }
    }

    /// A number of each layer, if the key is there: some files give it once, others as an array.
    pub fn numbers(&self, key: &str, n_layer: usize) -> Result<Option<Vec<f32>>> {
        self.numbers_at(&self.name(key), n_layer)
    }

    /// The same of a key that does not begin with the architecture's name.
    pub fn numbers_at(&self, key: &str, n_layer: usize) -> Result<Option<Vec<f32>>> {
        let Some(Value::Array(a)) = self.file.get(key) else {
            return Ok(self.file.get_f32(key)?.map(|x| vec![x; n_layer]));
        };
        let all: Option<Vec<f32>> = a.iter().take(n_layer).map(|v| v.as_float().map(|x| x as f32)).collect();
        all.filter(|all| all.len() == n_layer).map(Some).ok_or_else(|| {
            let (n, name) = (a.len(), a.elem_type().name());
            let expected = format!("a number for each of the {n_layer} layers");
            Error::bad_file(format!("key '{key}' is an array of {n} {name}, expected {expected}")).subject(key)
        })
    }

    /// True or false for each layer, if the key is there: some files say it once, others as an array.
    pub fn flags(&self, key: &str, n_layer: usize) -> Result<Option<Vec<bool>>> {
        let Some(value) = self.file.get(&self.name(key)) else { return Ok(None) };
        let expected = format!("a bool for each of the {n_layer} layers");
        let flag = |v: Value| if let Value::Bool(b) = v { Some(b) } else { v.as_int().map(|n| n != 0) };
        let Value::Array(a) = value else {
            return flag(value).map(|one| Some(vec![one; n_layer])).ok_or_else(|| self.bad(key, "no bool", &expected));
        };
        let all: Option<Vec<bool>> = a.iter().take(n_layer).map(flag).collect();
        all.filter(|all| all.len() == n_layer)
            .map(Some)
            .ok_or_else(|| self.bad(key, format!("an array of {} {}", a.len(), a.elem_type().name()), &expected))
    }
}
