//! Defence against floods of new connections (spec `connections.md` §13).
//!
//! The kernel's automatic modes follow free memory. Here memory is taken at start, so what is scarce is free entries of
//! the connection tables: they count as pages of 4 KiB, as many entries as a page would hold with their buckets. Each
//! worker looks at its own tables, once a second.

use crate::conn::{Address, Conn, ConnTable, flag};
use crate::engine::{Core, Engine, Origin};
use crate::flow::Pass;
use crate::state::{protocol, sctp, tcp};
use crate::tables::{Settings, Tables};
use crate::tick::Tick;

/// The mode in which a defence is always on.
const ALWAYS: u8 = 3;
/// Entries that 4 KiB hold: 85 bytes each.
const ENTRIES_PER_PAGE: u32 = 48;
/// A table is never taken for full while more than one in so many of its entries is free.
const SCARCE: u32 = 8;
/// `drop_entry` looks at one in so many entries a second, as the kernel does.
const PART: u32 = 32;
/// Entries that are looked at in one go.
const BLOCK: u32 = 256;
/// Entries with more packets than this are never dropped while they are established.
const FEW_PACKETS: u32 = 8;

/// State of the defences of a worker.
#[derive(Debug, Default)]
pub(crate) struct Defence {
    /// Packets until `drop_packet` drops the next one, that one included.
    left: u32,
    /// One in so many is dropped; 0: none.
    rate: u32,
    /// Are the tables nearly full?
    scarce: bool,
    /// Are the tables of `secure_tcp` in use?
    pub(crate) secure_tcp: bool,
    next: Tick,
    /// Free entries of both tables when they were last looked at, and all entries, in pages.
    available: u32,
    pages: u32,
    /// Blocks that are still to be looked at in this second, by family.
    blocks: [u32; 2],
    /// Looks at entries with 1, 2, … 8 packets, since one of them was dropped.
    seen: [u8; FEW_PACKETS as usize + 1],
    /// Of a small generator: which blocks come next. Nobody gains by guessing them.
    random: u64,
}

impl Core {
    /// Is a packet that would make a connection to be dropped? One in so many is, the first one among them.
    pub(crate) fn defend_against_new(&mut self) -> bool {
        let defence = &mut self.defence;
        if defence.rate == 0 {
            return false;
        }
        let drops = defence.left <= 1;
        defence.left = if drops { defence.rate } else { defence.left - 1 };
        drops
    }

    /// Takes over the settings of the defences.
    pub(crate) fn arm(&mut self, settings: &Settings) {
        let defence = &mut self.defence;
        let available = defence.available;
        let threshold = settings.amemthresh.min(defence.pages / SCARCE);
        defence.scarce = available < threshold;
        defence.secure_tcp = is_on(settings.secure_tcp, defence.scarce);
        defence.rate = match settings.drop_packet {
            ALWAYS => settings.am_droprate,
            1 | 2 if defence.scarce => threshold / (threshold - available),
            _ => 0,
        };
    }

    /// Does `drop_entry` thin out templates now? One visit of a shard in so many, chosen at random.
    pub(crate) fn thins_templates(&mut self, settings: &Settings) -> bool {
        is_on(settings.drop_entry, self.defence.scarce) && self.defence.draw().is_multiple_of(PART)
    }
}

fn is_on(mode: u8, scarce: bool) -> bool {
    mode == ALWAYS || mode != 0 && scarce
}

impl Defence {
    /// Is some part of the packets that open connections dropped?
    pub(crate) fn drops_packets(&self) -> bool {
        self.rate != 0
    }

    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.random >> 32) as u32
    }

    /// Test T of the spec: among idle entries with few packets, those with few go most often.
    fn chooses<A: Address>(&mut self, conn: &Conn<A>, now: Tick) -> bool {
        const IDLE_MS: i64 = 60_000;
        let idle_ms = i64::from(conn.timeout_ms) - conn.remaining_ms(now.stamp());
        if idle_ms < IDLE_MS || !(1..=FEW_PACKETS).contains(&conn.in_packets) {
            return false;
        }
        let seen = &mut self.seen[conn.in_packets as usize];
        *seen += 1;
        let drops = u32::from(*seen) >= conn.in_packets;
        if drops {
            *seen = 0;
        }
        drops
    }

    /// Is this entry to go?
    fn drops<A: Address>(&mut self, conn: &Conn<A>, now: Tick) -> bool {
        match conn.protocol {
            protocol::TCP if tcp::is_half_open(conn.state) => true,
            protocol::TCP => conn.state == tcp::ESTABLISHED && self.chooses(conn, now),
            protocol::SCTP if sctp::is_half_open(conn.state) => true,
            protocol::SCTP => conn.state == sctp::ESTABLISHED && self.chooses(conn, now),
            _ => self.chooses(conn, now),
        }
    }
}

impl Engine {
    /// Called in each round: judges once a second, and thins the tables out bit by bit.
    #[inline]
    pub(crate) fn defend(&mut self, tables: &Tables, now: Tick) {
        if now >= self.core.defence.next {
            self.judge(tables, now);
        }
        if self.core.defence.blocks != [0; 2] {
            self.thin_out(tables, now);
        }
    }

    /// How scarce are free entries? Changed settings take effect before, see `Core::observe`.
    fn judge(&mut self, tables: &Tables, now: Tick) {
        const SECOND_MS: u64 = 1000;
        let settings = tables.settings();
        let capacities = [self.v4.capacity(), self.v6.capacity()];
        let free = capacities[0] - self.v4.len() + capacities[1] - self.v6.len();
        let defence = &mut self.core.defence;
        defence.next = Tick(now.0 + SECOND_MS);
        defence.available = free / ENTRIES_PER_PAGE;
        defence.pages = (capacities[0] + capacities[1]) / ENTRIES_PER_PAGE;
        self.core.arm(settings);
        if is_on(settings.drop_entry, self.core.defence.scarce) {
            self.core.defence.blocks = capacities.map(|capacity| (capacity / PART).div_ceil(BLOCK));
        }
    }

    #[cold]
    #[inline(never)]
    fn thin_out(&mut self, tables: &Tables, now: Tick) {
        let (core, origin) = (&mut self.core, Origin::Wire);
        if core.defence.blocks[0] > 0 {
            core.defence.blocks[0] -= 1;
            Pass { table: &mut self.v4, core, tables, now, origin }.thin_out_block();
        } else {
            core.defence.blocks[1] -= 1;
            Pass { table: &mut self.v6, core, tables, now, origin }.thin_out_block();
        }
    }
}

/// Where a random block of the table begins.
fn block<A: Address>(table: &ConnTable<A>, random: u32) -> u32 {
    let blocks = table.capacity().div_ceil(BLOCK);
    ((u64::from(random) * u64::from(blocks)) >> 32) as u32 * BLOCK
}

impl<A: Address> Pass<'_, A> {
    /// Drops entries of one block of the table, chosen at random.
    fn thin_out_block(&mut self) {
        let first = block(self.table, self.core.defence.draw());
        for index in first..first.saturating_add(BLOCK).min(self.table.capacity()) {
            let conn = self.table.get(index);
            let controls = conn.has(flag::HELPED) && self.controls_others(index);
            if self.table.is_used(index) && !controls && self.core.defence.drops(conn, self.now) {
                self.discard(index);
            }
        }
    }
}
