//! A Linux kernel as a gateway, set up so that its forwarding can be counted in clocks.
//!
//! Three namespaces: a sender (see [`super::socket_sender`], on a CPU of its own), the gateway, and
//! a sink. The gateway's receiving device polls in a kernel thread of its own
//! (threaded NAPI), pinned to the CPU that is measured; it runs forwarding to its end. Clocks per
//! packet are that thread's time on the CPU (`/proc/PID/schedstat`, with `ksoftirqd`'s of the same
//! CPU, which may take over) at the TSC's rate, divided by the packets that left.
//!
//! Included: taking the packet from the receiving veth, GRO, forwarding, everything hooked into
//! it, the transmitting veth, and dropping the packet at its other end, where it is addressed to
//! somebody else. Not included: making the packet, and any driver of a real NIC. The sender does
//! not fill the CPU, so the thread wakes by timer, ten thousand times a second, for some hundred
//! packets at once.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::lab::{Host, Lab, Process, wait_until};

use super::flows::{
    Capture, GATEWAY_MAC, HOSTS, OUTSIDE, Player, SEGMENT_MAC, UNDERLAY, VNI, VTEP,
};
use super::testpmd;
use crate::borrowed;
use crate::machine;

/// What this kernel calls the limit of conntrack, and the size of its table: one for the machine.
const CONNTRACK: [(&str, u64); 2] = [
    ("/proc/sys/net/netfilter/nf_conntrack_max", 2_000_000),
    ("/proc/sys/net/netfilter/nf_conntrack_buckets", 1_048_576),
];

/// A router beyond the sink, whose Ethernet address is not the sink's.
const ROUTER: &str = "203.0.113.254";
const ROUTER_MAC: &str = "02:00:00:00:99:99";

/// The gateway and its surroundings.
#[derive(Debug)]
pub(super) struct Kernel {
    lab: Lab,
    sender: Host,
    gateway: Host,
    /// Held for what is in it.
    _sink: Host,
    /// The receiving device.
    device: String,
    tsc_hz: f64,
    cpu: u16,
}

impl Kernel {
    /// A gateway that routes from its receiving device to 198.18.0.0/15 over the other.
    pub(super) fn new(cpu: u16) -> Result<Self> {
        let lab = Lab::new()?;
        let [sender, gateway, sink] = ["sender", "gateway", "sink"].map(|name| lab.host(name));
        let (sender, gateway, sink) = (sender?, gateway?, sink?);
        // The thread's name has the device's; those of all namespaces stand in one list.
        let device = format!("bin{}", std::process::id() % 100_000);
        gateway.ip(&format!(
            "link add {device} mtu 1600 address {GATEWAY_MAC} type veth \
                 peer name out mtu 1600 netns {}
             link add out mtu 1600 type veth peer name in mtu 1600 netns {}
             link set {device} up
             link set out up
             address add {UNDERLAY}/24 dev {device}
             address add {OUTSIDE}/24 dev out
             neighbour add {ROUTER} lladdr {ROUTER_MAC} dev out nud permanent
             route add 198.18.0.0/15 via {ROUTER}",
            sender.netns(),
            sink.netns(),
        ))?;
        // Without segmentation offload at the sender's end, our end polls.
        sender.run("ethtool -K out tx off tso off >/dev/null && ip link set out arp off up")?;
        sink.run("ip link set in arp off up")?;
        gateway.run(&format!(
            "ethtool -K {device} gro on >/dev/null
             cd /sys/class/net/{device} &&
             echo 1 >threaded && echo 100000 >gro_flush_timeout &&
             echo 1000000 >napi_defer_hard_irqs &&
             cd /proc/sys/net/ipv4 && echo 1 >ip_forward &&
             echo 0 >conf/all/rp_filter && echo 0 >conf/{device}/rp_filter"
        ))?;
        let kernel = Self {
            lab,
            sender,
            gateway,
            _sink: sink,
            device,
            tsc_hz: machine::tsc_hz(),
            cpu,
        };
        let thread = kernel.polling_thread()?;
        kernel.gateway.run(&format!("taskset -pc {cpu} {thread}"))?;
        Ok(kernel)
    }

    /// Ends VXLAN tunnels, with the segment behind the receiving device.
    pub(super) fn add_tunnel(&self) -> Result<()> {
        let mut batch = format!(
            "link add vx address {SEGMENT_MAC} type vxlan id {VNI} local {UNDERLAY} \
                 dstport 4789 nolearning
             link set vx up
             address add 172.16.0.1/16 dev vx
             route add {VTEP}/32 via {ROUTER}\n"
        );
        let mut stations = String::new();
        for host in 0..HOSTS {
            let (high, low) = ((host + 2) / 256 + 1, (host + 2) % 256);
            let mac = format!("02:00:00:01:00:{host:02x}");
            batch +=
                &format!("neighbour add 172.16.{high}.{low} lladdr {mac} dev vx nud permanent\n");
            stations += &format!("fdb append {mac} dev vx dst {VTEP}\\n");
        }
        self.gateway.ip(batch.trim_end())?;
        self.gateway
            .run(&format!("printf '{stations}' | bridge -batch -"))?;
        let vx = "echo 0 >/proc/sys/net/ipv4/conf/vx/rp_filter";
        self.gateway.run(vx).map(drop)
    }

    /// Translates what leaves to the gateway's own address.
    pub(super) fn masquerade(&self) -> Result<()> {
        for (file, wanted) in CONNTRACK {
            let now = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            if now.trim().parse::<u64>().is_ok_and(|now| now < wanted) {
                borrowed::set(file, &wanted.to_string())?;
            }
        }
        self.gateway.run(
            "nft 'table ip nat {
                 chain out {
                     type nat hook postrouting priority srcnat;
                     oifname out masquerade
                 }
             }'
             echo 600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout",
        )?;
        Ok(())
    }

    /// Waits until nearly so many sessions are there.
    pub(super) fn wait_sessions(&self, sessions: u32) -> Result<()> {
        wait_until(Duration::from_secs(120), "the sessions are there", || {
            let count = "cat /proc/sys/net/netfilter/nf_conntrack_count";
            let count: u32 = self.gateway.run(count)?.trim().parse()?;
            ensure!(count >= sessions - sessions / 50, "{count} of {sessions}");
            Ok(())
        })
    }

    /// Sends these frames until the sender is dropped.
    pub(super) fn send(&self, capture: &Capture) -> Result<Sending> {
        let player = Player::new(capture, self.lab.dir(), 1)?;
        let cpu = testpmd::other_cpu(self.cpu)?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let command = format!(
            "taskset -c {cpu} {} --send {} --into out",
            program.display(),
            player.first().display()
        );
        let process = self.sender.spawn("sender", &command)?;
        let before = self.counters()?.1;
        wait_until(Duration::from_secs(30), "packets are forwarded", || {
            let packets = self.counters()?.1 - before;
            ensure!(packets > 50_000, "{packets} packets");
            Ok(())
        })?;
        Ok(Sending {
            _process: process,
            _player: player,
        })
    }

    /// Clocks for each packet that left, a sample a second.
    pub(super) fn measure(&self, repetitions: usize) -> Result<Vec<f64>> {
        let mut samples = Vec::new();
        let mut before = self.counters()?;
        for _ in 0..repetitions {
            thread::sleep(Duration::from_secs(1));
            let after = self.counters()?;
            let (time, packets) = (after.0 - before.0, after.1 - before.1);
            ensure!(
                packets > 1000,
                "only {packets} packets a second were forwarded"
            );
            samples.push(time as f64 / 1e9 * self.tsc_hz / packets as f64);
            before = after;
        }
        Ok(samples)
    }

    /// Nanoseconds on the CPU and packets sent, so far.
    fn counters(&self) -> Result<(u64, u64)> {
        let mut time = 0;
        let helper = thread_named(&format!("ksoftirqd/{}", self.cpu));
        for thread in [Some(self.polling_thread()?), helper].into_iter().flatten() {
            let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
            let first = text.split_whitespace().next().unwrap_or_default();
            time += first.parse::<u64>().context("schedstat")?;
        }
        let packets = "cat /sys/class/net/out/statistics/tx_packets";
        let packets = self.gateway.run(packets)?.trim().parse()?;
        Ok((time, packets))
    }

    fn polling_thread(&self) -> Result<u32> {
        thread_named(&format!("napi/{}-", self.device))
            .with_context(|| format!("this kernel has no polling thread for {}", self.device))
    }
}

/// A sender at work.
#[derive(Debug)]
pub(super) struct Sending {
    _process: Process,
    _player: Player,
}

/// The process whose name begins so.
fn thread_named(name: &str) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let comm = fs::read_to_string(Path::new("/proc").join(entry.file_name()).join("comm"));
        comm.ok()?.starts_with(name).then_some(pid)
    })
}
