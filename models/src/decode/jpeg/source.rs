//! The bytes of a file in order, and the markers in them as libjpeg finds them.

use super::Halt;

/// A position in a file, and the marker that entropy-coded data ran into.
#[derive(Debug)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Read, but not acted on: nothing behind it is entropy-coded data.
    pub(super) marker: Option<u8>,
    /// The number, 0 to 7, of the restart marker that is due next.
    next_restart: u8,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, marker: None, next_restart: 0 }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Halt> {
        let byte = *self.bytes.get(self.at).ok_or(Halt::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next eight bytes as a number, if none of them can begin a marker.
    #[inline]
    pub(super) fn eight_plain_bytes(&self) -> Option<u64> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let next = u64::from_be_bytes(*self.bytes.get(self.at..)?.first_chunk()?);
        // A byte of 255 is a zero of the complement, and that alone borrows from above its highest bit.
        let holds_255 = (!next).wrapping_sub(ONES) & next & (ONES << 7) != 0;
        (!holds_255).then_some(next)
    }

    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The segment that follows a marker: its length stands before it.
    pub(super) fn segment(&mut self) -> Result<Segment<'a>, Halt> {
        let length = usize::from(u16::from_be_bytes([self.byte()?, self.byte()?]));
        // Shorter lengths do not even count themselves.
        let left = length.checked_sub(2);
        let end = (self.at + left.unwrap_or(0)).min(self.bytes.len());
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(Segment { bytes, left })
    }

    /// Goes behind the next marker, whatever stands before it; it is then the one to act on.
    pub(super) fn find_marker(&mut self) -> Result<u8, Halt> {
        loop {
            while self.byte()? != 0xff {}
            let mut code = self.byte()?;
            // Any number of bytes 255 may stand before a marker.
            while code == 0xff {
                code = self.byte()?;
            }
            // What follows is not a marker but a byte of 255 in entropy-coded data.
            if code != 0 {
                self.marker = Some(code);
                return Ok(code);
            }
        }
    }

    pub(super) fn begin_scan(&mut self) {
        self.next_restart = 0;
    }

    /// Goes behind the restart marker that is due. Where another stands there, guesses as libjpeg does whether
    /// markers were lost or put in.
    pub(super) fn pass_restart(&mut self) -> Result<(), Halt> {
        let due = self.next_restart;
        self.next_restart = (due + 1) % 8;
        let mut code = match self.marker {
            Some(code) => code,
            None => self.find_marker()?,
        };
        loop {
            let ahead = code.wrapping_sub(0xd0 + due) % 8;
            match code {
                // One or two restarts late, or none at all any more: the interval that is due has no data.
                0xd0..=0xd7 if ahead == 1 || ahead == 2 => return Ok(()),
                // One or two restarts early, or no marker that there is: skip what was put in.
                0xd0..=0xd7 if ahead == 6 || ahead == 7 => {}
                // The one that is due, or too far from it to tell.
                0xd0..=0xd7 => {
                    self.marker = None;
                    return Ok(());
                }
                0xc0.. => return Ok(()),
                _ => {}
            }
            code = self.find_marker()?;
        }
    }
}

/// What is left of a marker segment. It may end behind the end of the file: libjpeg complains of what it has read
/// before it misses the rest.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    bytes: &'a [u8],
    /// The bytes that its length counts; `None` where that is senseless.
    left: Option<usize>,
}

impl<'a> Segment<'a> {
    /// How many bytes are left, by the segment's length.
    pub(super) fn left(&self) -> Result<usize, Halt> {
        self.left.ok_or(Halt::LENGTH)
    }

    /// The next bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Halt> {
        let left = self.left()?.checked_sub(count).ok_or(Halt::LENGTH)?;
        let (bytes, rest) = self.bytes.split_at_checked(count).ok_or(Halt::End)?;
        (self.left, self.bytes) = (Some(left), rest);
        Ok(bytes)
    }

    /// The next bytes, of a number that is known.
    pub(super) fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], Halt> {
        let bytes = self.take(COUNT)?;
        Ok(*bytes.first_chunk().expect("so many were taken"))
    }

    /// All that is left; nothing where the length is senseless.
    pub(super) fn rest(mut self) -> Result<&'a [u8], Halt> {
        match self.left {
            Some(left) => self.take(left),
            None => Ok(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read after the restart markers that `bytes` begins with, when the first of all is due.
    fn after_restart(bytes: &[u8]) -> (Option<u8>, Result<u8, Halt>) {
        let mut source = Source::new(bytes);
        source.pass_restart().unwrap();
        (source.marker, source.byte())
    }

    #[test]
    fn restart_markers_out_of_order_are_lost_or_put_in() {
        assert_eq!(after_restart(b"\xff\xd0a"), (None, Ok(b'a')));
        // One or two are missing: the interval is empty, and the marker stands.
        assert_eq!(after_restart(b"\xff\xd1a"), (Some(0xd1), Ok(b'a')));
        assert_eq!(after_restart(b"\xff\xd2a"), (Some(0xd2), Ok(b'a')));
        // One or two too many.
        assert_eq!(after_restart(b"\xff\xd7a\xff\xd0b"), (None, Ok(b'b')));
        assert_eq!(after_restart(b"\xff\xd6a\xff\xd1b"), (Some(0xd1), Ok(b'b')));
        // Too far to tell.
        assert_eq!(after_restart(b"\xff\xd4a"), (None, Ok(b'a')));
        // No restart at all: the scan is over, or it was no marker.
        assert_eq!(after_restart(b"\xff\xd9a"), (Some(0xd9), Ok(b'a')));
        assert_eq!(after_restart(b"\xff\x05\xff\xd0b"), (None, Ok(b'b')));
    }

    #[test]
    fn markers_are_found_behind_anything_else() {
        let mut source = Source::new(b"ab\xff\0c\xff\xff\xffXd");
        assert_eq!((source.find_marker(), source.byte()), (Ok(b'X'), Ok(b'd')));
        assert_eq!(source.find_marker(), Err(Halt::End));
    }

    #[test]
    fn bytes_of_255_are_seen_among_eight() {
        assert_eq!(Source::new(b"\x01\xfe\x80\x7f\0\0\xfe\xfd").eight_plain_bytes(), Some(0x01fe_807f_0000_fefd));
        for at in 0..8 {
            let mut bytes = [0xfe; 8];
            bytes[at] = 0xff;
            assert_eq!(Source::new(&bytes).eight_plain_bytes(), None);
        }
        assert_eq!(Source::new(&[0; 7]).eight_plain_bytes(), None);
    }
}
