//! AVIF: our own reader of the boxes, `re_rav1d` for AV1, our own conversion to RGB.
//!
//! Of an image sequence the primary item is taken, which is the still picture that a sequence starts with.
//! Grids of tiles are put together. Crops, turns and mirrors are not applied; turns and mirrors are reported as
//! the EXIF orientation that they amount to.

mod boxes;
mod yuv;

use re_rav1d::{Decoder, Error, Picture, Settings};
use weft_core::limits::Limits;

use self::boxes::Container;
use super::{DecodeError, Format, Inspected, RgbImage, be16, be32, check_size, finish, index, metadata};

const FORMAT: Format = Format::Avif;

pub(super) fn is_avif(bytes: &[u8]) -> bool {
    boxes::brands(bytes).is_some_and(|mut brands| brands.any(|brand| brand == *b"avif" || brand == *b"avis"))
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let container = Container::read(bytes)?;
    let (width_px, height_px) = container.size_px(container.primary)?;
    let mut inspected = Inspected::new(FORMAT, width_px, height_px);
    inspected.had_alpha = container.has_alpha();
    inspected.animated = boxes::brands(bytes).is_some_and(|mut brands| brands.next() == Some(*b"avis"));
    let exif = container.payload_of_kind(*b"Exif");
    // An offset to the TIFF header comes first.
    let exif = exif.as_deref().and_then(|payload| payload.get(4 + index(be32(payload, 0)?)..));
    let xmp = container.payload_of_kind(*b"mime");
    inspected.exif_orientation = match metadata::orientation(exif, xmp.as_deref()) {
        1 => container.orientation(),
        orientation => orientation,
    };
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage, DecodeError> {
    let container = Container::read(bytes)?;
    match &container.kind(container.primary)? {
        b"av01" => decode_item(&container, container.primary, limits),
        b"grid" => decode_grid(&container, limits),
        kind => Err(DecodeError::unsupported(FORMAT, format_args!("an item of kind {}", kind.escape_ascii()))),
    }
}

fn decode_item(container: &Container<'_>, item: u32, limits: &Limits) -> Result<RgbImage, DecodeError> {
    let picture = decode_av1(container.payload(item)?, limits)?;
    check_size(FORMAT, picture.width(), picture.height(), limits)?;
    yuv::to_rgb(&picture, container.color(item))
}

/// Puts tiles together, row by row; what reaches over the right and lower border is cut off.
fn decode_grid(container: &Container<'_>, limits: &Limits) -> Result<RgbImage, DecodeError> {
    let corrupt = || DecodeError::corrupt(FORMAT, "a senseless grid");
    let grid = container.payload(container.primary)?;
    let (Some(flags), Some(rows), Some(columns)) = (grid.get(1), grid.get(2), grid.get(3)) else {
        return Err(corrupt());
    };
    let size = if flags & 1 == 0 {
        be16(&grid, 4).map(u32::from).zip(be16(&grid, 6).map(u32::from))
    } else {
        be32(&grid, 4).zip(be32(&grid, 8))
    };
    let (width_px, height_px) = size.ok_or_else(corrupt)?;
    check_size(FORMAT, width_px, height_px, limits)?;
    let (rows, columns) = (usize::from(*rows) + 1, usize::from(*columns) + 1);
    let tiles = container.tiles();
    if tiles.len() != rows * columns {
        return Err(corrupt());
    }
    let mut pixels = super::buffer(width_px, height_px, 3)?;
    let (width, height) = (index(width_px), index(height_px));
    let mut tile_size = None;
    for (place, tile) in tiles.iter().enumerate() {
        let tile = decode_item(container, *tile, limits)?;
        let (tile_width, tile_height) = (tile.width_index(), tile.height_index());
        // All tiles have one size, and the grid no gaps.
        if *tile_size.get_or_insert((tile_width, tile_height)) != (tile_width, tile_height)
            || tile_width * columns < width
            || tile_height * rows < height
        {
            return Err(corrupt());
        }
        let (left, top) = (place % columns * tile_width, place / columns * tile_height);
        let kept = tile_width.min(width.saturating_sub(left)) * 3;
        let targets = pixels.chunks_exact_mut(width * 3).skip(top);
        for (target, source) in targets.zip(tile.pixels().chunks_exact(tile_width * 3)) {
            if kept > 0 {
                target[left * 3..left * 3 + kept].copy_from_slice(&source[..kept]);
            }
        }
    }
    finish(FORMAT, width_px, height_px, pixels)
}

/// Decodes the first picture of an AV1 stream, on this thread.
fn decode_av1(stream: Vec<u8>, limits: &Limits) -> Result<Picture, DecodeError> {
    if stream.is_empty() {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    settings.set_frame_size_limit(u32::try_from(limits.image_pixels).unwrap_or(u32::MAX));
    let mut decoder = Decoder::with_settings(&settings).map_err(refuse)?;
    match decoder.send_data(stream, None, None, None) {
        Ok(()) | Err(Error::Again) => {}
        Err(cause) => return Err(refuse(cause)),
    }
    loop {
        match decoder.get_picture() {
            Ok(picture) => return Ok(picture),
            // A picture needs what is still waiting to be sent; if nothing is, there is none.
            Err(Error::Again) => match decoder.send_pending_data() {
                Ok(()) => return decoder.get_picture().map_err(refuse),
                Err(Error::Again) => {}
                Err(cause) => return Err(refuse(cause)),
            },
            Err(cause) => return Err(refuse(cause)),
        }
    }
}

fn refuse(cause: Error) -> DecodeError {
    match cause {
        Error::UnsupportedBitstream => DecodeError::unsupported(FORMAT, cause),
        Error::Again => DecodeError::Truncated { format: FORMAT },
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}
