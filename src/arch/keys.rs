//! Keys below `{architecture}.`: typed, checked, and named in every error.

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::graph::Pooling;

/// A file's keys, for one architecture. A method that is given `key` looks for `{arch}.{key}`.
pub struct Keys<'a> {
    pub file: &'a Gguf,
    pub arch: &'a str,
    /// True if a layer that makes drafts is asked for.
    pub draft: bool,
    /// The rows that the graph leaves in place of logits, if it does.
    pub pooling: Option<Pooling>,
}

impl Keys<'_> {
    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.file.get_u32(&self.name(key))
    }
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.file.get_f32(&self.name(key))
    }
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.file.get_bool(&self.name(key))
    }
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.file.get_str(&self.name(key))
    }
    pub fn missing(&self, key: &str) -> Error {
        let key = self.name(key);
        Error::bad_file(format!("key '{key}' is missing")).subject(key)
    }
    pub fn bad(&self, key: &str, found: impl std::fmt::Display, expected: &str) -> Error {
        let key = self.name(key);
        Error::bad_file(format!("key '{key}' is {found}, expected {expected}")).subject(key)
    }
    /// A size from 1 to `max`.
    pub fn size(&self, key: &str, max: u32) -> Result<u32> {
        let n = self.u32(key)?.ok_or_else(|| self.missing(key))?;
        self.in_range(key, n, max)
    }
    pub fn in_range(&self, key: &str, n: u32, max: u32) -> Result<u32> {
        if n == 0 || n > max {
            return Err(self.bad(key, n, &format!("1 to {max}")));
        }
        Ok(n)
    }
    /// A number above zero, if the key is there.
    pub fn positive(&self, key: &str) -> Result<Option<f32>> {
        match self.f32(key)? {
            Some(x) if x < 0.0 => Err(self.bad(key, x, "a positive number")),
            x => Ok(x.filter(|x| *x > 0.0)),
        }
    }
    /// A size that some files give once and others per layer; all layers must agree.
    pub fn uniform_size(&self, key: &str, max: u32) -> Result<Option<u32>> {
        let Some(Value::Array(a)) = self.file.get(&self.name(key)) else {
            return self.u32(key)?.map(|n| self.in_range(key, n, max)).transpose();
        };
        let all = a.u64s().map_err(|e| e.at(&self.name(key)))?;
        let first = all
            .first()
            .copied()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| self.bad(key, "out of range", "sizes"))?;
        if all.iter().any(|n| *n != u64::from(first)) {
            let key = self.name(key);
            return Err(Error::unsupported(format!(
                "key '{key}' differs between layers, which this architecture's graph has no word for"
            ))
            .subject(key));
        }
        self.in_range(key, first, max).map(Some)
    }

    /// A size that some files give once and others per layer; the first that is not 0.
    pub fn some_size(&self, key: &str, max: u32) -> Result<Option<u32>> {
        let all = match self.file.get(&self.name(key)) {
            Some(Value::Array(a)) => self.sizes(key, a.len(), max)?,
            _ => self.u32(key)?.map(|n| vec![n]),
        };
        let some = all.and_then(|all| all.into_iter().find(|n| *n > 0));
        some.map(|n| self.in_range(key, n, max)).transpose()
    }

    /// A size per layer, if the key is there: some files give it once, others as an array, in which 0 stands for layers
    /// without.
    pub fn sizes(&self, key: &str, n_layer: usize, max: u32) -> Result<Option<Vec<u32>>> {
        let Some(Value::Array(a)) = self.file.get(&self.name(key)) else {
            let one = self.u32(key)?.map(|n| if n == 0 { Ok(0) } else { self.in_range(key, n, max) }).transpose()?;
            return Ok(one.map(|n| vec![n; n_layer]));
        };
        let all = a.u64s().map_err(|e| e.at(&self.name(key)))?;
        if all.len() < n_layer {
            let found = format!("an array of {}", all.len());
            return Err(self.bad(key, found, &format!("a size for each of the {n_layer} layers")));
        }
        let size = |n: &u64| u32::try_from(*n).map_err(|_| self.bad(key, n, &format!("1 to {max}")));
        let in_range = |n: &u64| if *n == 0 { Ok(0) } else { self.in_range(key, size(n)?, max) };
        all[..n_layer].iter().map(in_range).collect::<Result<Vec<u32>>>().map(Some)
    }

    /// True for each layer that sees a window only. The key `attention.sliding_window_pattern` is a bool per layer, or
    /// a number n: then every n-th layer sees all. If it is missing, n is `default`.
    pub fn local_layers(&self, n_layer: u32, default: Option<u32>) -> Result<Vec<bool>> {
        let key = "attention.sliding_window_pattern";
        if let Some(Value::Array(_)) = self.file.get(&self.name(key)) {
            return self.flags(key, n_layer as usize)?.ok_or_else(|| self.missing(key));
        }
        let n = self.u32(key)?.or(default).ok_or_else(|| self.missing(key))?;
        Ok((0..n_layer).map(|i| n == 0 || i % n < n - 1).collect())
    }
}
