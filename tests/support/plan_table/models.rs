//! The models of the table, as header-only files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::gguf::Gguf;

use super::headers::{self, ModelRow};

pub struct Model {
    pub name: String,
    pub file: Arc<Gguf>,
}

/// Models that can be measured, and the names and architectures of those that cannot yet.
#[derive(Default)]
pub struct Models {
    pub measured: Vec<Model>,
    pub estimate_only: Vec<String>,
}

impl Models {
    /// Those of shared's `tensors` folder.
    pub fn of_directories(shared: &Path, folder: &Path) -> io::Result<Models> {
        let mut models = Models::default();
        for path in headers::directories(shared)? {
            let json: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path)?).map_err(io::Error::other)?;
            let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
            // The quantisation is what the file's name ends with.
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = format!("{} {}", text(&json["name"]), stem.split_once('_').map_or("", |(_, q)| q));
            let out = folder.join(format!("{stem}.gguf"));
            models.add(name, &text(&json["model_info"]["general.architecture"]), out, |out| {
                headers::from_directory(&path, out)
            })?;
        }
        Ok(models)
    }

    /// Those known by their shapes.
    pub fn of_rows(rows: &[ModelRow], folder: &Path) -> io::Result<Models> {
        let mut models = Models::default();
        for row in rows {
            let out = folder.join(format!("shape-{}", headers::file_name(row.tag)));
            models.add(row.tag.to_owned(), row.arch, out, |out| headers::from_row(row, out))?;
        }
        Ok(models)
    }

    pub fn named(&self, name: &str) -> &Model {
        self.measured.iter().find(|m| m.name == name).expect("a model of the table")
    }

    fn add<W>(
        &mut self,
        name: String,
        arch: &str,
        out: PathBuf,
        write: impl Fn(&Path) -> io::Result<W>,
    ) -> io::Result<()> {
        if !rekindle::arch::supported().any(|a| a == arch) {
            self.estimate_only.push(format!("{name} ({arch})"));
            return Ok(());
        }
        write(&out)?;
        let file = Arc::new(Gguf::open(&out).map_err(io::Error::other)?);
        // The map stays, the name is not needed any more.
        std::fs::remove_file(&out)?;
        self.measured.push(Model { name, file });
        Ok(())
    }
}
