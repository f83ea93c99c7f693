//! What runs between a worker and everybody else: single-producer rings, and buffers that circulate
//! so that neither side allocates on the packet path.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use sekisho_host::PuntClass;
use sekisho_nat::{
    AddressUsage, Cursor, LogEvent, PoolId, PoolUsage, SessionFilter, SessionView, Stats, VrfStats,
};
use sekisho_types::{InterfaceId, MacAddr, SegmentId, VrfId};

use crate::control::neighbor::{Location, Neighbor};
use crate::snapshot::Snapshot;

/// Largest frame that crosses to or from the control plane, in octets.
pub const FRAME_SIZE: usize = 9216;
const FRAMES_PER_CLASS: usize = 64;
const INJECT_FRAMES: usize = 256;
const EVENTS: usize = 1024;
/// Memory for them is committed only when the log does not keep up.
const LOG_ENTRIES: usize = 1 << 16;

/// Bytes on their way between a worker and a control thread.
#[derive(Debug)]
pub struct Frame {
    /// What the bytes are and where they belong.
    pub kind: FrameKind,
    len: usize,
    data: Box<[u8; FRAME_SIZE]>,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An IP packet of the kernel, to or from the host interface.
    Host,
    /// A whole Ethernet frame to send on an uplink.
    Uplink(InterfaceId),
    /// A whole Ethernet frame to send to one VTEP of a segment.
    Segment(SegmentId, Ipv4Addr),
}

impl Frame {
    fn empty() -> Box<Self> {
        Box::new(Self {
            kind: FrameKind::Host,
            len: 0,
            data: Box::new([0; FRAME_SIZE]),
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.len]
    }

    /// Overwrites the frame; false if the bytes do not fit.
    pub fn fill(&mut self, kind: FrameKind, bytes: &[u8]) -> bool {
        let Some(room) = self.data.get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len = bytes.len();
        self.kind = kind;
        true
    }

    /// Room to write into; call `set_len` after.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.data[..]
    }

    /// Says how much of the room was written.
    pub fn set_len(&mut self, kind: FrameKind, len: usize) {
        self.kind = kind;
        self.len = len.min(FRAME_SIZE);
    }
}

/// The giving end of a ring of circulating frames.
#[derive(Debug)]
pub struct FrameSender {
    full: Producer<Box<Frame>>,
    empty: Consumer<Box<Frame>>,
}

/// The taking end of a ring of circulating frames.
#[derive(Debug)]
pub struct FrameReceiver {
    full: Consumer<Box<Frame>>,
    empty: Producer<Box<Frame>>,
}

/// A ring in which `frames` frames circulate.
pub fn frame_ring(frames: usize) -> (FrameSender, FrameReceiver) {
    let (full_in, full_out) = RingBuffer::new(frames);
    let (mut empty_in, empty_out) = RingBuffer::new(frames);
    for _ in 0..frames {
        // The ring has room for exactly these.
        let _ = empty_in.push(Frame::empty());
    }
    (
        FrameSender {
            full: full_in,
            empty: empty_out,
        },
        FrameReceiver {
            full: full_out,
            empty: empty_in,
        },
    )
}

impl FrameSender {
    /// Sends a frame that `write` fills; false when all frames are under way or `write` refuses.
    pub fn send(&mut self, write: impl FnOnce(&mut Frame) -> bool) -> bool {
        let Ok(mut frame) = self.empty.pop() else {
            return false;
        };
        let written = write(&mut frame);
        if !written {
            frame.len = 0;
        }
        // As many frames circulate as the ring holds: there is always room.
        self.full.push(frame).is_ok() && written
    }
}

impl FrameReceiver {
    /// Lets `read` see the next frame; false when there is none.
    pub fn receive(&mut self, read: impl FnOnce(&Frame)) -> bool {
        let Ok(frame) = self.full.pop() else {
            return false;
        };
        if frame.len > 0 {
            read(&frame);
        }
        let _ = self.empty.push(frame);
        true
    }
}

/// What a worker tells the control task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet waits for this neighbour.
    Needed(Neighbor),
    /// This neighbour was heard; remember it, if unknown, when `learn` is set.
    Heard {
        /// Who.
        neighbor: Neighbor,
        /// Where.
        location: Location,
        /// Whether to remember strangers.
        learn: bool,
    },
    /// Another station says that it has an address of ours.
    Conflict {
        /// The address.
        neighbor: Neighbor,
        /// Who says so.
        station: MacAddr,
    },
}

impl Event {
    /// Whom it is about.
    pub const fn neighbor(&self) -> Neighbor {
        match self {
            Self::Needed(neighbor)
            | Self::Heard { neighbor, .. }
            | Self::Conflict { neighbor, .. } => *neighbor,
        }
    }
}

/// What the control task asks of a worker, besides the snapshot.
#[derive(Debug)]
pub enum Command {
    /// Fill the page with sessions, from a cursor on.
    ListSessions(SessionPage),
    /// Remove the sessions a filter matches.
    ClearSessions(SessionFilter),
    /// Fill in what is used of each pool.
    ReadPools(Vec<(PoolSet, PoolUsage)>),
    /// Fill in how many sessions each VRF has.
    ReadTenants(Vec<(VrfId, u32)>),
    /// Fill in what was counted.
    ReadStatistics(Box<Statistics>),
    /// Fill in what is used of the addresses of a pool.
    ReadAddresses(AddressPage),
}

/// The answer to a command.
#[derive(Debug)]
pub enum Reply {
    /// Sessions, and where to go on; `None` at the end.
    Sessions(SessionPage),
    /// So many sessions were removed.
    Cleared(u64),
    /// This much is used of each pool.
    Pools(Vec<(PoolSet, PoolUsage)>),
    /// So many sessions each VRF has.
    Tenants(Vec<(VrfId, u32)>),
    /// What was counted.
    Statistics(Box<Statistics>),
    /// This much is used of each address.
    Addresses(AddressPage),
}

/// Outside addresses that share their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSet {
    /// A pool's.
    Pool(PoolId),
    /// An uplink's own.
    Uplink(InterfaceId),
}

/// What was counted, for the gateway and for each VRF by its number.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// For the gateway.
    pub all: Stats,
    /// For the VRFs; the control task makes room for as many as there are.
    pub vrfs: Vec<VrfStats>,
}

/// The addresses of a pool, in order, and what is used of them.
#[derive(Clone, Debug)]
pub struct AddressPage {
    /// The pool.
    pub pool: PoolId,
    /// How far the worker is.
    pub cursor: Cursor,
    /// Its addresses.
    pub addresses: Vec<AddressUsage>,
}

/// A bounded piece of the session table. The control task allocates it, the worker fills it.
#[derive(Debug)]
pub struct SessionPage {
    /// What to list.
    pub filter: SessionFilter,
    /// Where to start, and afterwards where to go on.
    pub cursor: Option<Cursor>,
    /// What was found; the worker never goes beyond its capacity.
    pub sessions: Vec<SessionView>,
}

impl SessionPage {
    /// An empty page with room for `capacity` sessions.
    pub fn new(filter: SessionFilter, cursor: Option<Cursor>, capacity: usize) -> Self {
        Self {
            filter,
            cursor,
            sessions: Vec::with_capacity(capacity),
        }
    }
}

/// A line of the translation log.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry {
    /// When, in nanoseconds since the epoch of the worker's clock.
    pub at_ns: u64,
    /// What happened.
    pub event: LogEvent,
}

/// Where the lines of a worker come from.
pub type LogRing = Consumer<LogEntry>;

/// The worker's ends.
#[derive(Debug)]
pub struct WorkerEnd {
    /// New snapshots; one at a time.
    pub snapshots: Consumer<Arc<Snapshot>>,
    /// Old snapshots, to be freed elsewhere.
    pub retired: Producer<Arc<Snapshot>>,
    /// Commands.
    pub commands: Consumer<Command>,
    /// Answers.
    pub replies: Producer<Reply>,
    /// What happened on uplinks.
    pub uplink_events: Producer<Event>,
    /// What happened on segments; apart, so that no tenant can drown the uplinks.
    pub segment_events: Producer<Event>,
    /// Frames of the control task to send.
    pub control_frames: FrameReceiver,
    /// Packets of the kernel to route.
    pub host_frames: FrameReceiver,
    /// Packets for the kernel, by punt class.
    pub punt: Vec<FrameSender>,
    /// The translation log.
    pub nat_log: Producer<LogEntry>,
}

/// The control task's ends.
#[derive(Debug)]
pub struct ControlEnd {
    /// New snapshots.
    pub snapshots: Producer<Arc<Snapshot>>,
    /// Snapshots the worker has let go.
    pub retired: Consumer<Arc<Snapshot>>,
    /// Commands.
    pub commands: Producer<Command>,
    /// Answers.
    pub replies: Consumer<Reply>,
    /// What happened on uplinks.
    pub uplink_events: Consumer<Event>,
    /// What happened on segments.
    pub segment_events: Consumer<Event>,
    /// Frames to send.
    pub frames: FrameSender,
}

/// The host thread's ends.
#[derive(Debug)]
pub struct HostEnd {
    /// Packets of the kernel to route.
    pub frames: FrameSender,
    /// Packets for the kernel, by punt class, most urgent first.
    pub punt: Vec<FrameReceiver>,
}

/// All rings of one worker.
pub fn worker_links() -> (WorkerEnd, ControlEnd, HostEnd, LogRing) {
    let (snapshots_in, snapshots) = RingBuffer::new(1);
    // The one the worker holds, the one on its way and one spare: the return slot is always free.
    let (retired, retired_out) = RingBuffer::new(3);
    let (commands_in, commands) = RingBuffer::new(8);
    let (replies, replies_out) = RingBuffer::new(8);
    let (uplink_events, uplink_events_out) = RingBuffer::new(EVENTS);
    let (segment_events, segment_events_out) = RingBuffer::new(EVENTS);
    let (control_frames_in, control_frames) = frame_ring(INJECT_FRAMES);
    let (host_frames_in, host_frames) = frame_ring(INJECT_FRAMES);
    let (nat_log, nat_log_out) = RingBuffer::new(LOG_ENTRIES);
    let (punt, punt_out) = PuntClass::ALL
        .iter()
        .map(|_| frame_ring(FRAMES_PER_CLASS))
        .unzip();
    (
        WorkerEnd {
            snapshots,
            retired,
            commands,
            replies,
            uplink_events,
            segment_events,
            control_frames,
            host_frames,
            punt,
            nat_log,
        },
        ControlEnd {
            snapshots: snapshots_in,
            retired: retired_out,
            commands: commands_in,
            replies: replies_out,
            uplink_events: uplink_events_out,
            segment_events: segment_events_out,
            frames: control_frames_in,
        },
        HostEnd {
            frames: host_frames_in,
            punt: punt_out,
        },
        nat_log_out,
    )
}
