//! The gateway that is measured.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use sekisho_dpdk::{
    Burst, Driver, Eal, Mempool, MempoolOptions, Port, PortHandle, PortOptions, RxQueue, TxQueue,
    rdtsc,
};
use sekisho_fib::{Capacity, PathListId, Tables, Writer};
use sekisho_gateway::control::plan::{Plan, Planner, PortFacts};
use sekisho_gateway::counters::WorkerCounters;
use sekisho_gateway::drops::DropReason;
use sekisho_gateway::worker::handover::Handover;
use sekisho_gateway::worker::link::{ControlEnd, HostEnd};
use sekisho_gateway::worker::{StageClocks, Worker};
use sekisho_mgmt::config::{self, Config, Document};
use sekisho_nat::{OutsideOwners, Seed, Steering};
use sekisho_types::{MacAddr, SegmentId, VrfId, WorkerId};

use super::drive::Drive;
use super::fib;
use super::flows::{Flows, Mix};
use super::frames::{Direction, FrameWriter, Segment};
use super::station::{Common, Station};
use crate::options::Options;

/// Uplinks with a router each.
pub(crate) const UPLINKS: u16 = 4;
pub(super) const FABRIC_MAC: MacAddr = MacAddr::new([2, 0xfa, 0, 0, 0, 0]);
pub(super) const UNDERLAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

pub(super) const fn uplink_mac(uplink: u16) -> MacAddr {
    MacAddr::new([2, 0xfa, 0, 0, 1, uplink as u8])
}

pub(super) const fn segment_mac(tenant: u32) -> MacAddr {
    let [_, _, c, d] = tenant.to_be_bytes();
    MacAddr::new([2, 0xfb, 0, 0, c, d])
}

pub(super) const fn vni(tenant: u32) -> u32 {
    5000 + tenant
}

/// The router behind an uplink.
pub(super) const fn router(uplink: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, uplink as u8 * 2)
}

/// Our address on an uplink of a gateway with both families.
pub(super) fn uplink6(uplink: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, uplink, 0, 0, 0, 1)
}

/// What becomes of tenants' packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// SNAT to a pool.
    Snat,
    /// Routed as they are.
    Routed,
    /// A floating IP for each virtual machine.
    Floating,
}

/// What to build.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) flows: Flows,
    pub(crate) service: Service,
    pub(crate) workers: u8,
    /// NAT sessions there is room for on each worker.
    pub(crate) max_sessions: u32,
    /// Packet buffers.
    pub(crate) buffers: u32,
    /// What is random, if it is to be the same again.
    pub(crate) seed: [u8; 32],
    /// Uplinks and tenants have IPv6 beside IPv4; tenants' prefixes are advertised.
    pub(crate) dual_stack: bool,
    /// It is counted what each session carries.
    pub(crate) count_sessions: bool,
}

impl Shape {
    /// So many flows of a mix, with some room for more sessions.
    pub(crate) fn new(flows: u32, mix: Mix, service: Service) -> Self {
        Self {
            flows: Flows::new(flows, mix),
            service,
            workers: 1,
            max_sessions: flows + flows / 8 + 1024,
            buffers: BUFFERS,
            seed: rand::random(),
            dual_stack: false,
            count_sessions: false,
        }
    }

    /// The configuration, checked.
    pub(crate) fn config(&self) -> Result<Config> {
        let document = Document {
            name: "bench.toml".to_owned(),
            text: configuration(self)?,
        };
        match config::parse(vec![document]) {
            Ok(loaded) => Ok(loaded.config),
            Err(errors) => bail!("{errors}"),
        }
    }
}

/// After so long without a packet no session lives on: more than the longest time-out.
const EXPIRED_NS: u64 = 10_000 * 1_000_000_000;
/// The first address of the pool.
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 0, 0);
/// The first floating IP.
const FLOATING: u32 = 0xcb10_0000;
/// Buffers enough for the full mix, which keeps thousands on their way.
const BUFFERS: u32 = (1 << 15) - 1;

/// The rings of a port, which DPDK makes whatever is asked, and gives back if they are a queue's.
const RINGS: u16 = 16;

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// A gateway with its surroundings.
pub(crate) struct World {
    /// The first worker.
    pub(crate) worker: Worker,
    pub(crate) pool: Mempool,
    /// What it sent, by port.
    pub(crate) sent: Vec<RxQueue>,
    pub(crate) counters: Arc<WorkerCounters>,
    /// The other workers.
    pub(crate) peers: Vec<Station>,
    pub(crate) control: Control,
    pub(crate) writer: Writer,
    _tables: Arc<Tables>,
    pub(crate) plan: Plan,
    /// The path list of each router alone, then of all.
    pub(crate) lists: Vec<PathListId>,
    pub(crate) frames: FrameWriter,
    /// The worker's clock, where a row moves it.
    pub(crate) now_ns: u64,
    pub(crate) shape: Shape,
    /// Outside address and port of each flow.
    pub(crate) outside: Vec<(Ipv4Addr, u16)>,
    _handles: Vec<PortHandle>,
    _host: HostEnd,
}

/// Who tells the first worker of configurations.
pub(crate) struct Control {
    pub(crate) planner: Planner,
    pub(crate) config: Config,
    pub(crate) end: ControlEnd,
}

impl World {
    /// Builds everything, without sessions.
    pub(crate) fn new(eal: &Eal, shape: &Shape) -> Result<Self> {
        // Names are the process's; there may be two worlds at a time.
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        let mut options = MempoolOptions::new(&format!("bench-{world}"), shape.buffers);
        options.cache = 512;
        let pool = Mempool::new(eal, &options)?;
        let names = std::iter::once("fabric".to_owned())
            .chain((0..UPLINKS).map(|uplink| format!("up{uplink}")));
        let (mut handles, mut facts) = (vec![], vec![]);
        let queues = || (Vec::new(), Vec::new());
        let mut ports: Vec<(Vec<RxQueue>, Vec<TxQueue>)> =
            (0..shape.workers).map(|_| queues()).collect();
        for (index, name) in names.enumerate() {
            let options = PortOptions {
                queues: RINGS,
                ..PortOptions::new(Driver::Ring)
            };
            let Port { handle, rx, tx } =
                Port::attach(eal, &format!("{name}-{world}"), &options, &pool)?;
            handles.push(handle);
            for ((own_rx, own_tx), (rx, tx)) in ports.iter_mut().zip(rx.into_iter().zip(tx)) {
                own_rx.push(rx);
                own_tx.push(tx);
            }
            facts.push(PortFacts {
                name: name.parse()?,
                mac: match index.checked_sub(1) {
                    None => FABRIC_MAC,
                    Some(uplink) => uplink_mac(uplink as u16),
                },
            });
        }
        let seed = Seed::new(shape.seed);
        let owners = Arc::new(OutsideOwners::new(1 << 17)?);
        let steering = Steering::new(seed, shape.workers);
        let mut planner = Planner::new(facts, shape.workers, steering, owners);
        let config = shape.config()?;
        let plan = planner.plan(&config, 1)?;
        let (tables, mut writer) = Tables::new(shape.workers, Capacity::default())?;
        fib::configured(&mut writer, &plan)?;
        fib::vteps(&mut writer, &plan.snapshot, &shape.flows)?;
        fib::endpoints(&mut writer, &plan.snapshot, shape)?;
        let lists = fib::routers(&mut writer, &plan.snapshot)?;
        if let Some(&all) = lists.last() {
            writer.insert(
                VrfId::PROVIDER,
                "0.0.0.0/0".parse()?,
                sekisho_fib::Leaf::PathList(all),
            )?;
            if shape.dual_stack {
                writer.insert(
                    VrfId::PROVIDER,
                    "::/0".parse()?,
                    sekisho_fib::Leaf::PathList(all),
                )?;
            }
        }
        let common = Common {
            shape,
            pool: &pool,
            tables: &tables,
            plan: &plan,
        };
        let mut peers = Vec::new();
        let rings = Handover::mesh(shape.workers);
        for ((queues, handover), id) in ports.into_iter().zip(rings).zip(0..) {
            peers.push(Station::new(&common, WorkerId::new(id), queues, handover)?);
        }
        let first = peers.remove(0);
        Ok(Self {
            worker: first.worker,
            pool,
            sent: first.sent,
            counters: first.counters,
            peers,
            control: Control {
                planner,
                config,
                end: first.control,
            },
            writer,
            _tables: tables,
            plan,
            lists,
            frames: FrameWriter::new(),
            now_ns: 0,
            shape: shape.clone(),
            outside: Vec::new(),
            _handles: handles,
            _host: first.host,
        })
    }

    /// Opens every flow, as its two ends would, and notes what each became outside.
    pub(crate) fn open_flows(&mut self) -> Result<()> {
        self.open_first(self.shape.flows.count)
    }

    /// Opens the first `count` flows.
    fn open_first(&mut self, count: u32) -> Result<()> {
        self.open_first_over(count, 0)
    }

    /// Fills the table of sessions once and lets all of them expire, so that the kernel has handed out
    /// the memory, as it has to a gateway that has been up for a while.
    pub(crate) fn fill_once(&mut self) -> Result<()> {
        let room = self.shape.max_sessions.min(self.shape.flows.count);
        self.open_first_over(room, 0)?;
        self.now_ns += EXPIRED_NS;
        loop {
            self.worker.begin_turn(self.now_ns);
            self.worker.end_turn();
            if self.counters.sessions.get() == 0 {
                return Ok(());
            }
        }
    }

    /// Opens the first `count` flows while the worker's clock goes on by `step` nanoseconds with each
    /// burst.
    pub(crate) fn open_first_over(&mut self, count: u32, step: u64) -> Result<()> {
        let all = self.shape.flows.count as usize;
        self.outside = vec![(Ipv4Addr::UNSPECIFIED, 0); all];
        let mut frame = [0; FrameWriter::MAX];
        let mut first = 0;
        while first < count {
            let burst = first..count.min(first + Burst::CAPACITY as u32);
            self.now_ns += step;
            self.exchange(burst.clone(), Direction::Out, Segment::SYN, &mut frame)?;
            if self.shape.flows.tcp {
                let tcp = |&number: &u32| self.shape.flows.flow(number).tcp;
                let some = burst.clone().any(|number| tcp(&number));
                if some {
                    self.exchange(burst.clone(), Direction::Back, Segment::SYN_ACK, &mut frame)?;
                    self.exchange(burst.clone(), Direction::Out, Segment::ACK, &mut frame)?;
                }
            }
            first = burst.end;
        }
        Ok(())
    }

    /// Sends one packet of each flow of a burst, and reads what comes out.
    pub(crate) fn exchange(
        &mut self,
        numbers: std::ops::Range<u32>,
        direction: Direction,
        segment: Segment,
        frame: &mut [u8; FrameWriter::MAX],
    ) -> Result<u64> {
        let mut burst = Burst::new();
        ensure!(
            self.pool.alloc_bulk(&mut burst, numbers.len()),
            "no buffers left"
        );
        for (number, mbuf) in numbers.clone().zip(burst.iter_mut()) {
            let flow = self.shape.flows.flow(number);
            let length = match direction {
                Direction::Out => self.frames.out(frame, &flow, segment),
                Direction::Back => {
                    let (address, port) = self.outside[number as usize];
                    let outside = SocketAddrV4::new(address, port);
                    self.frames.back(frame, &flow, outside, segment)
                }
            };
            mbuf.append(length)
                .context("a buffer is too small")?
                .copy_from_slice(&frame[..length]);
        }
        let port = match direction {
            Direction::Out => 0,
            Direction::Back => 1,
        };
        self.worker.begin_turn(self.now_ns);
        let fed = rdtsc();
        self.worker.feed(&mut burst, port);
        self.worker.end_turn();
        self.settle();
        let clocks = rdtsc() - fed;
        let mut seen = 0;
        let peers = self.peers.iter_mut().flat_map(|peer| &mut peer.sent);
        for queue in self.sent.iter_mut().chain(peers) {
            while queue.receive(&mut burst) > 0 {
                seen += burst.len();
                if direction == Direction::Out {
                    note(&self.shape.flows, &numbers, &burst, &mut self.outside)?;
                }
                burst.clear();
            }
        }
        ensure!(
            seen == numbers.len(),
            "{} of {} packets of new flows were not forwarded: {}",
            numbers.len() - seen,
            numbers.len(),
            self.drops()
        );
        Ok(clocks)
    }

    /// Lets the workers take what they handed each other until nothing is under way.
    pub(crate) fn settle(&mut self) {
        let mut moved = !self.peers.is_empty();
        while moved {
            moved = false;
            let peers = self.peers.iter_mut().map(|peer| &mut peer.worker);
            for worker in peers.chain([&mut self.worker]) {
                worker.begin_turn(self.now_ns);
                moved |= worker.take_over() > 0;
                worker.end_turn();
            }
        }
    }

    /// The worker that has the session of a flow.
    pub(crate) fn owner(&self, number: u32) -> WorkerId {
        let host = self.shape.flows.host(number % self.shape.flows.hosts);
        let snapshot = &self.plan.snapshot;
        let segment = snapshot.segment(SegmentId::new(host.tenant as u16));
        let vrf = segment.map_or(VrfId::PROVIDER, |segment| segment.vrf);
        snapshot.nat.inside_owner(vrf, host.address)
    }

    /// What was dropped, by reason.
    pub(crate) fn drops(&self) -> String {
        let mut text = String::new();
        for &reason in DropReason::ALL {
            let peers = self.peers.iter().map(|peer| peer.counters.drops(reason));
            let count = self.counters.drops(reason) + peers.sum::<u64>();
            if count > 0 {
                let _ = write!(text, "{} {count} ", reason.label());
            }
        }
        text
    }

    /// A run of packets through the worker.
    pub(crate) fn drive(&mut self, options: &Options, mix: Mix) -> Drive<'_> {
        Drive::new(self, options, mix)
    }

    /// Prints where the clocks of bursts went, if the worker was built to tell.
    pub(super) fn tell_stages(&self, burst: usize) {
        let clocks = self.worker.stage_clocks().map(StageClocks::medians);
        for (stage, clocks) in clocks.unwrap_or_default() {
            println!("    {stage:?} {:.1}", f64::from(clocks) / burst as f64);
        }
    }
}

/// Finds out which flow each packet that left belongs to, and what its source became.
fn note(
    flows: &Flows,
    numbers: &std::ops::Range<u32>,
    burst: &Burst,
    outside: &mut [(Ipv4Addr, u16)],
) -> Result<()> {
    // Packets of one burst leave by several ports, in order on each: found by their destination,
    // and, where several flows have one, by order.
    for mbuf in burst.iter() {
        let ip = mbuf.data().get(14..42).context("a packet left short")?;
        let peer = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
        let number = numbers.clone().find(|&number| {
            flows.flow(number).peer == peer && {
                let (_, port) = outside[number as usize];
                port == 0 || flows.tcp
            }
        });
        let number = number.context("a packet left that nobody sent")?;
        let source = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]);
        outside[number as usize] = (source, u16::from_be_bytes([ip[20], ip[21]]));
    }
    Ok(())
}

/// The configuration, as somebody would write it.
fn configuration(shape: &Shape) -> Result<String> {
    let mut text = String::from("[underlay]\naddress = \"10.1.0.1\"\n\n");
    let ports = std::iter::once(("fabric".to_owned(), "10.1.0.1/16".to_owned()));
    let uplinks = (0..UPLINKS).map(|uplink| {
        let address = Ipv4Addr::from(u32::from(router(uplink)) + 1);
        let mut addresses = format!("{address}/31");
        if shape.dual_stack {
            let _ = write!(addresses, "\", \"{}/64", uplink6(uplink));
        }
        (format!("up{uplink}"), addresses)
    });
    for (name, addresses) in ports.chain(uplinks) {
        write!(
            text,
            "[[port]]\nname = \"{name}\"\nkind = \"af_packet\"\ninterface = \"{name}\"\nmtu = 1600\n\n\
             [[uplink]]\nname = \"{name}\"\nport = \"{name}\"\naddresses = [\"{addresses}\"]\n\n"
        )?;
    }
    if shape.service == Service::Snat {
        write!(
            text,
            "[[nat-pool]]\nname = \"public\"\naddresses = [\"{POOL}/22\"]\n\n"
        )?;
    }
    let vteps: Vec<String> = (0..shape.flows.vteps)
        .map(|number| format!("\"{}\"", Flows::vtep(number)))
        .collect();
    let vteps = vteps.join(", ");
    for tenant in 0..shape.flows.tenants {
        write!(
            text,
            "[[tenant]]\nname = \"t{tenant:05}\"\n\n[[tenant.segment]]\nname = \"s{tenant:05}\"\n\
             vni = {}\ngateway = \"172.16.0.1/14\"\nmac = \"{}\"\nmtu = 1500\nvteps = [{vteps}]\n",
            vni(tenant),
            segment_mac(tenant)
        )?;
        // One tenant alone can be reached without NAT; many overlap.
        let routed = shape.service == Service::Routed;
        if routed && shape.flows.tenants == 1 {
            text.push_str("advertise = true\n");
        }
        if shape.dual_stack {
            let gateway = Flows::address6(tenant, 1);
            write!(text, "gateway6 = \"{gateway}/64\"\nadvertise6 = true\n")?;
            text.push_str("\n[[tenant.route]]\nprefix = \"::/0\"\nvrf = \"provider\"\n\n");
        }
        text.push_str("\n[[tenant.route]]\nprefix = \"0.0.0.0/0\"\nvrf = \"provider\"\n\n");
        if routed && shape.flows.tenants > 1 {
            text.push_str("[[tenant.snat]]\nsource = \"172.16.0.0/14\"\nto = \"none\"\n\n");
        }
        if shape.service == Service::Snat {
            text.push_str("[[tenant.snat]]\nsource = \"172.16.0.0/14\"\npool = \"public\"\n\n");
        }
        if shape.service == Service::Floating {
            for number in (tenant..shape.flows.hosts).step_by(shape.flows.tenants as usize) {
                write!(
                    text,
                    "[[tenant.floating-ip]]\noutside = \"{}\"\ninside = \"{}\"\n\n",
                    floating(number),
                    shape.flows.host(number).address
                )?;
            }
        }
    }
    Ok(text)
}

/// The floating IP of a virtual machine.
pub(crate) fn floating(host: u32) -> Ipv4Addr {
    Ipv4Addr::from(FLOATING + host)
}
