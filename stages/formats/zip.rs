//! Reads the members of a zip archive, one after another, in bounded memory.
//!
//! The reader is the `zip` crate's; bounds are put around it here. A member gives at most
//! [`Limits::inflate_ratio`] bytes for each of its stored bytes; it errors at the bound. Checksums are compared at each
//! member's end. Only stored and deflated members are read: MMC4 was published so. Names are for messages; nothing is
//! unpacked to a path.

use std::io::{self, Read, Seek};

use weft_core::limits::{LimitExceeded, Limits};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

/// What an archive that holds any member begins with (APPNOTE.TXT, section 4.3.7).
pub const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// Inflated bytes up to which the ratio is not judged.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// An archive whose directory was read.
#[derive(Debug)]
pub struct Zip<R> {
    archive: ZipArchive<R>,
    inflate_ratio: u64,
}

/// A member being read.
pub struct Member<'a, R: Read> {
    file: ZipFile<'a, R>,
    left_bytes: u64,
    exceeded: LimitExceeded,
}

impl<R: Read> std::fmt::Debug for Member<'_, R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Member").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Zip<R> {
    /// Reads the directory at the end of `file`.
    ///
    /// # Errors
    /// Where there is none, or it is damaged.
    pub fn open(file: R, limits: &Limits) -> Result<Self, ZipError> {
        Ok(Self { archive: ZipArchive::new(file)?, inflate_ratio: limits.inflate_ratio })
    }

    /// How many members there are, folders among them.
    #[must_use]
    pub fn members(&self) -> usize {
        self.archive.len()
    }

    /// The member at `index`; none where it is a folder.
    ///
    /// # Errors
    /// A member that is encrypted or compressed in another way, or whose head is damaged.
    pub fn member(&mut self, index: usize) -> Result<Option<Member<'_, R>>, ZipError> {
        let file = self.archive.by_index(index)?;
        if file.is_dir() {
            return Ok(None);
        }
        let limit = self.inflate_ratio;
        let left_bytes = file.compressed_size().saturating_mul(limit).max(RATIO_FREE_BYTES);
        Ok(Some(Member { file, left_bytes, exceeded: LimitExceeded { what: "inflate_ratio", limit } }))
    }
}

impl<R: Read> Member<'_, R> {
    /// Its path within the archive.
    #[must_use]
    pub fn name(&self) -> String {
        self.file.name().to_string()
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let read_bytes = u64::try_from(read).expect("usize fits u64");
        self.left_bytes = self.left_bytes.checked_sub(read_bytes).ok_or_else(|| self.exceeded.clone())?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// An archive of these members, deflated.
    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.add_directory("folder", options).unwrap();
        for (name, bytes) in members {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read_all(bytes: &[u8], limits: &Limits) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut zip = Zip::open(Cursor::new(bytes), limits).map_err(io::Error::other)?;
        let mut members = Vec::new();
        for index in 0..zip.members() {
            let Some(mut member) = zip.member(index).map_err(io::Error::other)? else { continue };
            let mut content = Vec::new();
            member.read_to_end(&mut content)?;
            members.push((member.name(), content));
        }
        Ok(members)
    }

    #[test]
    fn members_come_in_order_and_folders_are_none() {
        let bytes = archive(&[("folder/b.jsonl", b"two"), ("a.jsonl", &[b'x'; 5_000])]);
        assert!(bytes.starts_with(&MAGIC));
        let members = read_all(&bytes, &Limits::default()).unwrap();
        assert_eq!(members[0], ("folder/b.jsonl".to_owned(), b"two".to_vec()));
        assert_eq!((members[1].0.as_str(), members[1].1.len()), ("a.jsonl", 5_000));
    }

    #[test]
    fn a_bomb_ends_at_the_ratio() {
        let bytes = archive(&[("bomb", &vec![0; 8 << 20])]);
        let limits = Limits { inflate_ratio: 100, ..Limits::default() };
        assert_eq!(read_all(&bytes, &limits).unwrap_err().to_string(), "inflate_ratio exceeds the limit of 100");
        assert_eq!(read_all(&bytes, &Limits::default()).unwrap()[0].1.len(), 8 << 20);
    }

    #[test]
    fn damage_is_an_error_and_never_a_shorter_member() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let whole = archive(&[("a.jsonl", &text)]);
        assert_eq!(read_all(&whole, &Limits::default()).unwrap()[0].1, text);
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        assert!(read_all(&flipped, &Limits::default()).is_err());
        assert!(read_all(&whole[..whole.len() - 30], &Limits::default()).is_err());
        assert!(read_all(b"PK\x03\x04", &Limits::default()).is_err());
    }
}
