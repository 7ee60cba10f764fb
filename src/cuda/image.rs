//! The kernels' prebuilt images, and the choice among them for a card.
//!
//! `kernels/build.py` compiles every file of `kernels/` for the fewest architectures that reach from 3.7 to 9.x, and to
//! PTX for what comes after; it writes `images.rs`, the table of them.

use super::images::{FILES, PTX};

/// Machine code for cards of one major version, from a minor version on.
pub struct Cubin {
    pub major: u32,
    pub minor: u32,
    pub packed: &'static [u8],
}

/// The images of one file of kernels. They are compressed (zlib), to less than a third.
pub struct File {
    pub name: &'static str,
    pub cubins: &'static [Cubin],
    pub ptx: &'static [u8],
}

#[derive(Clone, Copy)]
pub enum Image {
    Cubin(&'static Cubin),
    Ptx(&'static [u8]),
}

impl Image {
    /// The bytes that the driver's `cuModuleLoadData` takes: machine code, or text that ends with a zero.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let (packed, end): (_, &[u8]) = match self {
            Image::Cubin(cubin) => (cubin.packed, b""),
            Image::Ptx(packed) => (*packed, b"\0"),
        };
        let mut bytes = miniz_oxide::inflate::decompress_to_vec_zlib(packed)
            .map_err(|e| format!("a kernel image is damaged: {e}"))?;
        bytes.extend(end);
        Ok(bytes)
    }

    fn describe(&self) -> String {
        match self {
            Image::Cubin(cubin) => format!("sm_{}{} cubin", cubin.major, cubin.minor),
            Image::Ptx(_) => format!("PTX compute_{}{}, compiled by the driver", PTX.0, PTX.1),
        }
    }
}

/// The images for a card: one of each file of kernels.
pub struct Choice {
    pub files: Vec<(&'static str, Image)>,
}

impl Choice {
    /// "sm_37 cubin" or "PTX compute_37, compiled by the driver".
    pub fn describe(&self) -> String {
        let mut kinds: Vec<String> = self.files.iter().map(|(_, image)| image.describe()).collect();
        kinds.dedup();
        kinds.join(", ")
    }
}

/// The images for a card of this compute capability, or why there are none.
pub fn pick(major: u32, minor: u32) -> Result<Choice, String> {
    pick_from(FILES, major, minor)
}

fn pick_from(files: &'static [File], major: u32, minor: u32) -> Result<Choice, String> {
    let image = |file: &'static File| {
        let runs = file.cubins.iter().filter(|c| c.major == major && c.minor <= minor);
        match runs.max_by_key(|c| c.minor) {
            Some(cubin) => Ok((file.name, Image::Cubin(cubin))),
            None if (major, minor) > PTX => Ok((file.name, Image::Ptx(file.ptx))),
            None => Err(format!(
                "compute capability {major}.{minor} is too old: the kernels ({}) need {}.{} or newer",
                file.name, PTX.0, PTX.1
            )),
        }
    };
    Ok(Choice { files: files.iter().map(image).collect::<Result<_, _>>()? })
}

/// A file of kernels by its name, and its image.
type Ready = (&'static str, Vec<u8>);

/// Images made ready for the driver, once for all dies of a kind.
#[derive(Default)]
pub struct Shelf {
    /// Of each compute capability (major, minor) that was asked for.
    known: Vec<((u32, u32), Vec<Ready>)>,
}

impl Shelf {
    /// The images of a compute capability, or why there are none.
    pub fn get(&mut self, major: u32, minor: u32) -> Result<&[Ready], String> {
        let at = match self.known.iter().position(|(cc, _)| *cc == (major, minor)) {
            Some(at) => at,
            None => {
                let ready = |(file, image): &(&'static str, Image)| Ok::<Ready, String>((*file, image.bytes()?));
                let images = pick(major, minor)?.files.iter().map(ready).collect::<Result<_, _>>()?;
                self.known.push(((major, minor), images));
                self.known.len() - 1
            }
        };
        Ok(&self.known[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: &[File] = &[
        File {
            name: "add",
            cubins: &[
                Cubin { major: 3, minor: 7, packed: b"37" },
                Cubin { major: 5, minor: 0, packed: b"50" },
                Cubin { major: 5, minor: 2, packed: b"52" },
            ],
            ptx: b"ptx",
        },
        File { name: "rope", cubins: &[Cubin { major: 3, minor: 7, packed: b"r37" }], ptx: b"r" },
    ];

    fn of(major: u32, minor: u32) -> (String, Vec<&'static [u8]>) {
        let choice = pick_from(TWO, major, minor).unwrap();
        let packed = |image: &Image| match image {
            Image::Cubin(cubin) => cubin.packed,
            Image::Ptx(packed) => packed,
        };
        (choice.describe(), choice.files.iter().map(|(_, image)| packed(image)).collect())
    }

    #[test]
    fn a_cubin_of_the_same_major_version_comes_first() {
        assert_eq!(of(3, 7), ("sm_37 cubin".into(), vec![&b"37"[..], b"r37"]));
        assert_eq!(of(5, 1).1[0], b"50");
        assert_eq!(of(5, 3).1[0], b"52");
        assert_eq!(of(5, 3).0, "sm_52 cubin, PTX compute_37, compiled by the driver");
    }

    #[test]
    fn newer_cards_get_ptx_and_older_ones_a_reason() {
        assert_eq!(of(6, 1), ("PTX compute_37, compiled by the driver".into(), vec![&b"ptx"[..], b"r"]));
        let reason = pick_from(TWO, 3, 5).err().unwrap();
        assert_eq!(reason, "compute capability 3.5 is too old: the kernels (add) need 3.7 or newer");
        assert!(pick_from(TWO, 2, 1).is_err());
    }

    #[test]
    fn a_damaged_image_is_an_error() {
        assert!(Image::Ptx(b"ptx").bytes().unwrap_err().starts_with("a kernel image is damaged: "));
    }

    /// The real table: one kind of image for all files, and machine code wherever there is any.
    #[test]
    fn every_card_gets_one_kind_of_image() {
        for (major, minor) in
            [(3, 7), (5, 0), (5, 2), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 1)]
        {
            let choice = pick(major, minor).unwrap();
            assert_eq!(choice.files.len(), FILES.len());
            let text = choice.describe();
            let cubin = format!("sm_{major}{} cubin", if major == 3 { 7 } else { 0 });
            assert!(
                FILES.is_empty()
                    || text == if major < 10 { cubin } else { "PTX compute_37, compiled by the driver".into() }
            );
            for (name, image) in choice.files {
                let bytes = image.bytes().unwrap();
                match image {
                    Image::Cubin(_) => assert!(bytes.starts_with(b"\x7fELF"), "{name}"),
                    Image::Ptx(_) => {
                        let text = String::from_utf8(bytes).unwrap();
                        assert!(text.ends_with("\n\0") && text.contains("\n.version 7.4\n"), "{name}");
                    }
                }
            }
        }
    }
}
