//! GIF: the first frame, placed on its canvas as Pillow places it.

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, Frame};

use super::{DecodeError, Format, Inspected, RgbImage, finish, index};

const FORMAT: Format = Format::Gif;

pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    let mut decoder = open(bytes)?;
    let (canvas_width, canvas_height) = (decoder.width(), decoder.height());
    let frame = first_frame_info(&mut decoder)?;
    let (width_px, height_px) = canvas(frame, canvas_width, canvas_height);
    let mut inspected = Inspected::new(FORMAT, width_px, height_px);
    inspected.had_alpha = frame.transparent.is_some();
    let mut options = options();
    options.skip_frame_decoding(true);
    // A second frame that cannot be reached is none: the first one decides whether the file is good.
    inspected.animated = options.read_info(bytes).is_ok_and(|mut frames| {
        matches!(frames.next_frame_info(), Ok(Some(_))) && matches!(frames.next_frame_info(), Ok(Some(_)))
    });
    Ok(inspected)
}

pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut decoder = open(bytes)?;
    let (canvas_width, canvas_height) = (decoder.width(), decoder.height());
    let frame = first_frame_info(&mut decoder)?.clone();
    let (width_px, height_px) = canvas(&frame, canvas_width, canvas_height);
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(|cause| refuse(&cause))?;
    let palette = palette(frame.palette.as_deref().or_else(|| decoder.global_palette()));

    // What the frame leaves free shows the transparent index, or the first one.
    let ground = palette[usize::from(frame.transparent.unwrap_or(0))];
    let (width, height) = (index(width_px), index(height_px));
    let mut pixels = ground.repeat(width * height);
    let left = usize::from(frame.left) * 3;
    let rows = pixels.chunks_exact_mut(width * 3).skip(usize::from(frame.top));
    for (row, indices) in rows.zip(indices.chunks_exact(usize::from(frame.width).max(1))) {
        for (pixel, index) in row[left..].chunks_exact_mut(3).zip(indices) {
            pixel.copy_from_slice(&palette[usize::from(*index)]);
        }
    }
    finish(FORMAT, width_px, height_px, pixels)
}

fn options() -> DecodeOptions {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    options
}

fn open(bytes: &[u8]) -> Result<Decoder<&[u8]>, DecodeError> {
    options().read_info(bytes).map_err(|cause| refuse(&cause))
}

fn first_frame_info<'a>(decoder: &'a mut Decoder<&[u8]>) -> Result<&'a Frame<'static>, DecodeError> {
    let frame = decoder.next_frame_info().map_err(|cause| refuse(&cause))?;
    frame.ok_or_else(|| DecodeError::corrupt(FORMAT, "no frame"))
}

/// The canvas, grown where the first frame reaches over it.
fn canvas(frame: &Frame<'_>, width: u16, height: u16) -> (u32, u32) {
    let right = u32::from(frame.left) + u32::from(frame.width);
    let bottom = u32::from(frame.top) + u32::from(frame.height);
    (right.max(width.into()), bottom.max(height.into()))
}

/// 256 colours: what the file's palette lacks is black; a file without one means grey.
fn palette(stored: Option<&[u8]>) -> [[u8; 3]; 256] {
    let Some(stored) = stored else {
        return std::array::from_fn(|value| [u8::try_from(value).expect("256 values fit a byte"); 3]);
    };
    let mut colors = [[0; 3]; 256];
    for (color, stored) in colors.iter_mut().zip(stored.chunks_exact(3)) {
        color.copy_from_slice(stored);
    }
    colors
}

fn refuse(cause: &DecodingError) -> DecodeError {
    match cause {
        DecodingError::UnexpectedEof => DecodeError::Truncated { format: FORMAT },
        DecodingError::Io(cause) => DecodeError::io(FORMAT, cause),
        _ => DecodeError::corrupt(FORMAT, cause),
    }
}
