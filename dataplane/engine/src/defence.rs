//! Defence against floods of new connections (spec `connections.md` §13).
//!
//! The kernel's automatic modes follow free memory. Here memory is taken at start, so they are always off; mode 3 does
//! what it says.

use crate::engine::Core;
use crate::tables::Settings;

/// The mode in which a defence is always on.
pub(crate) const ALWAYS: u8 = 3;

/// State of `drop_packet`.
#[derive(Debug, Default)]
pub(crate) struct DropPacket {
    /// Packets until the next drop, this one included.
    left: u32,
}

impl Core {
    /// Is a packet that would make a connection to be dropped? One in `am_droprate` is, the first one among them.
    pub(crate) fn defend_against_new(&mut self, settings: &Settings) -> bool {
        if settings.drop_packet != ALWAYS || settings.am_droprate == 0 {
            return false;
        }
        let drops = self.drop_packet.left <= 1;
        self.drop_packet.left = if drops { settings.am_droprate } else { self.drop_packet.left - 1 };
        drops
    }
}
