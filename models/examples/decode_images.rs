//! Decodes the files named on standard input, one a line, and says of each in one line what came out.
//!
//! Tab-separated: format, width, height, perceptual hash, bits near the median, and `ok` or the cause of a refusal; a dash where there is
//! nothing to say. With a folder as the only argument the pixels are written there, `<line>.rgb`, for comparison
//! with another decoder's, as `benches/pillow/compare.py` does.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use weft_core::limits::Limits;
use weft_models::decode::{Decoded, Format, decode};
use weft_models::phash::{bits_near_median, phash};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let mut out = std::io::stdout().lock();
    for (line, name) in std::io::stdin().lock().lines().enumerate() {
        let mut bytes = Vec::new();
        std::fs::File::open(name?)?.read_to_end(&mut bytes)?;
        match decode(&bytes, &Limits::default()) {
            Ok(decoded) => {
                if let Some(folder) = &folder {
                    write_pixels(&folder.join(format!("{line}.rgb")), &decoded)?;
                }
                let Decoded { format, rgb, .. } = decoded;
                let (width, height) = (rgb.width_px(), rgb.height_px());
                writeln!(out, "{format}\t{width}\t{height}\t{}\t{}\tok", phash(&rgb), bits_near_median(&rgb))?;
            }
            Err(cause) => {
                let format = Format::of(&bytes).map_or("-", Format::name);
                writeln!(out, "{format}\t-\t-\t-\t-\t{}: {cause}", cause.name())?;
            }
        }
    }
    Ok(())
}

fn write_pixels(path: &Path, decoded: &Decoded) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(decoded.rgb.pixels())
}
