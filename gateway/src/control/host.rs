//! The thread between the rings and the kernel: packets the workers punt go into the host
//! interface, packets the kernel sends go to the first worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sekisho_host::HostPackets;

use crate::counters::Counter;
use crate::worker::link::{FRAME_SIZE, FrameKind, HostEnd};

/// Most packets taken from one ring in one turn, so that every class has its turn.
const BUDGET: usize = 32;
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_micros(500);

/// What the thread counts.
#[derive(Debug, Default)]
pub struct HostCounters {
    /// Packets given to the kernel.
    pub to_kernel: Counter,
    /// Packets the kernel did not take.
    pub refused: Counter,
    /// Packets the kernel sent.
    pub from_kernel: Counter,
    /// Packets of the kernel no worker had room for.
    pub lost: Counter,
}

/// Starts the thread; it ends when `stop` is set.
pub fn spawn(
    packets: HostPackets,
    mut ends: Vec<HostEnd>,
    counters: Arc<HostCounters>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("host".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; FRAME_SIZE];
            let mut pause = SHORTEST_PAUSE;
            while !stop.load(Ordering::Relaxed) {
                let given = give(&packets, &mut ends, &counters);
                let taken = take(&packets, &mut ends, &counters, &mut buffer);
                if given || taken {
                    pause = SHORTEST_PAUSE;
                } else {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        })
}

/// Punted packets, the most urgent class first.
fn give(packets: &HostPackets, ends: &mut [HostEnd], counters: &HostCounters) -> bool {
    let mut found = false;
    for end in ends {
        for ring in &mut end.punt {
            for _ in 0..BUDGET {
                let more = ring.receive(|frame| match packets.send_ip(frame.bytes()) {
                    Ok(true) => counters.to_kernel.add(1),
                    Ok(false) | Err(_) => counters.refused.add(1),
                });
                if !more {
                    break;
                }
                found = true;
            }
        }
    }
    found
}

fn take(
    packets: &HostPackets,
    ends: &mut [HostEnd],
    counters: &HostCounters,
    buffer: &mut [u8],
) -> bool {
    let Some(first) = ends.first_mut() else {
        return false;
    };
    for taken in 0..BUDGET {
        let Ok(Some(packet)) = packets.recv_ip(buffer) else {
            return taken > 0;
        };
        counters.from_kernel.add(1);
        if !first
            .frames
            .send(|frame| frame.fill(FrameKind::Host, packet))
        {
            counters.lost.add(1);
        }
    }
    true
}
