//! Inflates a gzip member that lies in memory whole, by libdeflate.
//!
//! libdeflate inflates the member at the start of its input and checks its checksum and its length, but the safe
//! binding does not tell where the member ended. A member's last four bytes are the length of what it inflates to
//! (RFC 1952, section 2.3.1). So the input's last four bytes say how much room to give; and where they stand
//! nowhere else in the input, and the member inflates to that length, it can only end where the input does.
//! Everything else (bytes after the member, a cut or damaged one, one that states more than a cap allows, the four
//! bytes found twice) gives no answer, at the cost of one pass. O(n).

use libdeflater::Decompressor;
use memchr::memmem;

use super::{Caps, length_u64};

/// The fixed part of a header, and the trailer (RFC 1952, section 2.3).
pub(super) const MEMBER_LEAST_BYTES: usize = 18;
/// Bytes of the length that ends a member, little-endian and modulo 2^32.
const LENGTH_BYTES: usize = 4;
/// libdeflate checks for the output's end at every symbol once so few bytes are left, or fewer.
const SLACK_BYTES: usize = 512;

/// The decoder; its state is for any number of members.
#[derive(Default)]
pub(super) struct Inflater(Decompressor);

impl std::fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// Inflates the member that is all of `member` into the start of `output`, which grows as needed: the length
    /// inflated; none where it is not certain that the member is clean, within the caps and ends there.
    pub(super) fn inflate(&mut self, member: &[u8], output: &mut Vec<u8>, caps: Caps) -> Option<usize> {
        if member.len() < MEMBER_LEAST_BYTES {
            return None;
        }
        let length_at = member.len() - LENGTH_BYTES;
        let stated: [u8; LENGTH_BYTES] = member.get(length_at..)?.try_into().ok()?;
        let length = u32::from_le_bytes(stated);
        // No room is made for what only the last bytes of the input promise.
        caps.check(length_u64(member.len()), u64::from(length)).ok()?;
        if memmem::find(member, &stated) != Some(length_at) {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        let room = length.checked_add(SLACK_BYTES)?;
        if output.is_empty() {
            // Zeroed by the system, where it can be.
            *output = vec![0; room];
        } else if output.len() < room {
            output.resize(room, 0);
        }
        let inflated = self.0.gzip_decompress(member, output).ok()?;
        (inflated == length).then_some(length)
    }
}
