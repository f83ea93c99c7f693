//! Ports: which keys each kind has, and what two ports cannot share.

use std::path::Path;

use sekisho_types::{Name, PciAddress};

use crate::config::model::{Memif, Port, PortKind};
use crate::config::problem::{Located, Place, Problems};
use crate::config::raw::{self, Maybe};
use crate::config::text::{Driver, KernelInterface};

use super::provider::{DEFAULT_MTU, check_mac};
use super::{all, or};

/// The largest MTU whose buffers fit a page, as an `af_xdp` port needs them. All ports share one
/// pool of buffers.
const AF_XDP_MTU: u16 = 3438;
/// What a `tap` port can carry.
const TAP_MTU: u16 = 1504;
/// Packets that wait in a ring of a memif.
const RING_SIZE: u32 = 1024;

/// The keys of a kind of port beside `name`, `kind`, `mac` and `mtu`.
struct Keys {
    /// Those that must be there, with an example.
    required: &'static [(&'static str, &'static str)],
    /// Those that may be.
    optional: &'static [&'static str],
}

impl Keys {
    fn of(kind: Driver) -> Self {
        const INTERFACE: &[(&str, &str)] = &[("interface", "\"eth1\"")];
        let (required, optional): (_, &[&str]) = match kind {
            Driver::Tap => (INTERFACE, &["namespace"]),
            Driver::AfPacket | Driver::AfXdp => (INTERFACE, &[]),
            Driver::Memif => (
                [
                    ("socket", "\"/run/sekisho/memif.sock\""),
                    ("role", "\"server\" or \"client\""),
                ]
                .as_slice(),
                &["id", "secret", "ring-size"],
            ),
            Driver::Pci => ([("address", "\"0000:00:05.0\"")].as_slice(), &[]),
        };
        Self { required, optional }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let required = self.required.iter().map(|(key, _)| *key);
        required.chain(self.optional.iter().copied())
    }
}

pub(super) fn ports(raw: &[raw::Port], p: &mut Problems<'_>) -> Option<Vec<Port>> {
    for port in raw {
        check_keys(port, p);
    }
    check_shared(raw, p);
    check_mtu(raw, p);
    all(raw.iter().map(|port| build(port, p)))
}

/// Reports keys that are missing, and those of other kinds.
fn check_keys(port: &raw::Port, p: &mut Problems<'_>) {
    let Some(kind) = &port.kind else {
        return;
    };
    let word = kind.value.word();
    let keys = Keys::of(kind.value);
    let there = port.own_keys();
    for (key, example) in keys.required {
        // A key whose value was not understood has been reported.
        if !port.said.contains(key) {
            let message = format!("a port of kind {word} needs {key:?}; write {key} = {example}");
            p.error(&port.at, message);
        }
    }
    for (key, at) in there {
        if !keys.names().any(|name| name == key) {
            let has = |kind: &Driver| Keys::of(*kind).names().any(|name| name == key);
            let kinds = Driver::ALL.iter().filter(|kind| has(kind));
            let kinds: Vec<String> = kinds
                .map(|kind| format!("kind = \"{}\"", kind.word()))
                .collect();
            let message = format!(
                "a port of kind {word} has no {key:?}; remove it, or use {}",
                kinds.join(" or ")
            );
            p.error(at, message);
        }
    }
}

/// Each port needs an interface, a NIC, or an id at a socket, of its own.
fn check_shared(raw: &[raw::Port], p: &mut Problems<'_>) {
    // A TAP of one namespace does not collide with its namesake in another.
    let mut interfaces: Vec<(&KernelInterface, Option<&Name>)> = Vec::new();
    let mut addresses: Vec<PciAddress> = Vec::new();
    let mut ends: Vec<(&Path, u32, &Driver)> = Vec::new();
    let mut refuse = |at: &Place, what: String| {
        p.error(
            at,
            format!("{what} is another port's already; each port needs its own"),
        );
    };
    for port in raw {
        if let Some(interface) = &port.interface {
            let end = (&interface.value, value(&port.namespace));
            if interfaces.contains(&end) {
                refuse(&interface.at, format!("interface {}", interface.0));
            }
            interfaces.push(end);
        }
        if let Some(address) = &port.address {
            if addresses.contains(&address.value) {
                refuse(&address.at, format!("PCI device {}", address.value));
            }
            addresses.push(address.value);
        }
        if let (Some(socket), Some(kind)) = (&port.socket, &port.kind) {
            let end = (socket.0.as_path(), or(&port.id, 0), &kind.value);
            if ends.contains(&end) {
                let what = format!("id {} at socket {}", end.1, end.0.display());
                refuse(&socket.at, what);
            }
            ends.push(end);
        }
    }
}

/// Buffers hold the packets of every port, and some drivers only take small ones.
fn check_mtu(raw: &[raw::Port], p: &mut Problems<'_>) {
    let is = |port: &raw::Port, kind| value(&port.kind) == Some(&kind);
    let xdp = raw.iter().find(|port| is(port, Driver::AfXdp));
    for port in raw {
        let Some(mtu) = &port.mtu else {
            continue;
        };
        if is(port, Driver::Tap) && mtu.value > TAP_MTU {
            let message = format!("a tap port carries an MTU of at most {TAP_MTU}; use that");
            p.error(&mtu.at, message);
        } else if let Some(xdp) = xdp
            && mtu.value > AF_XDP_MTU
        {
            let name = value(&xdp.name).map_or("", Name::as_str);
            let message = format!(
                "with the af_xdp port {name} no port can have an MTU above {AF_XDP_MTU}, because \
                 a buffer must fit a page; use that, or another kind of port there"
            );
            p.error(&mtu.at, message);
        }
    }
}

fn build(port: &raw::Port, p: &mut Problems<'_>) -> Option<Port> {
    if let Some(mac) = &port.mac {
        check_mac(mac, p);
    }
    let interface = || Some(port.interface.as_ref()?.0.clone());
    Some(Port {
        name: port.name.as_ref()?.value.clone(),
        kind: match port.kind.as_ref()?.value {
            Driver::Tap => PortKind::Tap {
                interface: interface()?,
                namespace: value(&port.namespace).cloned(),
            },
            Driver::AfPacket => PortKind::AfPacket {
                interface: interface()?,
            },
            Driver::AfXdp => PortKind::AfXdp {
                interface: interface()?,
            },
            Driver::Memif => PortKind::Memif(Memif {
                socket: port.socket.as_ref()?.0.clone(),
                id: or(&port.id, 0),
                role: port.role.as_ref()?.value,
                secret: value(&port.secret).map(|secret| secret.0.clone()),
                ring_size: ring_size(&port.ring_size, p),
            }),
            Driver::Pci => PortKind::Pci {
                address: port.address.as_ref()?.value,
            },
        },
        mac: port.mac.as_ref().map(|mac| mac.value),
        mtu: or(&port.mtu, DEFAULT_MTU),
    })
}

fn ring_size(size: &Maybe<u32>, p: &mut Problems<'_>) -> u32 {
    if let Some(size) = size
        && !size.value.is_power_of_two()
    {
        let below = 1 << size.value.ilog2();
        let message = format!(
            "{} is no power of two; use {below} or {}",
            size.value,
            2 * below
        );
        p.error(&size.at, message);
    }
    or(size, RING_SIZE)
}

fn value<T>(maybe: &Maybe<T>) -> Option<&T> {
    maybe.as_ref().map(|located: &Located<T>| &located.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, parse};

    /// The ports of a document that holds only these tables, or all complaints about them.
    fn read(tables: &[&str]) -> Result<Vec<Port>, Vec<String>> {
        let text: String = tables
            .iter()
            .map(|keys| format!("[[port]]\n{keys}\n"))
            .collect();
        let document = Document {
            name: "sekisho.toml".into(),
            text,
        };
        match parse(vec![document]) {
            Ok(loaded) => Ok(loaded.config.ports),
            Err(errors) => {
                let problems = errors.problems.into_iter();
                Err(problems.map(|problem| problem.message).collect())
            }
        }
    }

    #[track_caller]
    fn refused(tables: &[&str], message: &str) {
        let messages = read(tables).unwrap_err();
        assert_eq!(messages, [message]);
    }

    const NIC: &str = "name = \"a\"\nkind = \"pci\"\naddress = \"0000:00:05.0\"";
    const XDP: &str = "name = \"b\"\nkind = \"af_xdp\"\ninterface = \"eth1\"";
    const MEMIF: &str =
        "name = \"c\"\nkind = \"memif\"\nsocket = \"/run/c.sock\"\nrole = \"server\"";

    #[test]
    fn every_kind_is_read_with_its_defaults() {
        let ports = read(&[NIC, XDP, MEMIF]).unwrap();
        let kinds: Vec<&PortKind> = ports.iter().map(|port| &port.kind).collect();
        let memif = PortKind::Memif(Memif {
            socket: "/run/c.sock".into(),
            id: 0,
            role: crate::config::model::MemifRole::Server,
            secret: None,
            ring_size: 1024,
        });
        let nic = PortKind::Pci {
            address: "0000:00:05.0".parse().unwrap(),
        };
        let xdp = PortKind::AfXdp {
            interface: "eth1".into(),
        };
        assert_eq!(kinds, [&nic, &xdp, &memif]);
    }

    #[test]
    fn a_missing_key_is_shown_with_an_example() {
        for (kind, key, example) in [
            ("pci", "address", "\"0000:00:05.0\""),
            ("af_xdp", "interface", "\"eth1\""),
            ("tap", "interface", "\"eth1\""),
        ] {
            let message = format!("a port of kind {kind} needs {key:?}; write {key} = {example}");
            refused(&[&format!("name = \"a\"\nkind = \"{kind}\"")], &message);
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_with_the_kinds_that_have_it() {
        refused(
            &[&format!("{XDP}\nsocket = \"/run/a\"")],
            "a port of kind af_xdp has no \"socket\"; remove it, or use kind = \"memif\"",
        );
        refused(
            &[&format!("{NIC}\ninterface = \"eth1\"")],
            "a port of kind pci has no \"interface\"; remove it, or use kind = \"tap\" or kind = \
             \"af_packet\" or kind = \"af_xdp\"",
        );
    }

    #[test]
    fn a_nic_is_named_by_its_whole_address_and_once() {
        refused(
            &[&NIC.replace("0000:", "")],
            "\"00:05.0\" is a PCI address without its domain; did you mean 0000:00:05.0?",
        );
        refused(
            &[NIC, &NIC.replace("\"a\"", "\"b\"")],
            "PCI device 0000:00:05.0 is another port's already; each port needs its own",
        );
    }

    #[test]
    fn two_memifs_share_a_socket_but_not_an_id() {
        let other = MEMIF.replace("\"c\"", "\"d\"");
        refused(
            &[MEMIF, &other],
            "id 0 at socket /run/c.sock is another port's already; each port needs its own",
        );
        assert!(read(&[MEMIF, &format!("{other}\nid = 1")]).is_ok());
    }

    #[test]
    fn what_a_memif_cannot_have_is_refused_with_what_it_could() {
        refused(
            &[&format!("{MEMIF}\nring-size = 1000")],
            "1000 is no power of two; use 512 or 1024",
        );
        refused(
            &[&format!("{MEMIF}\nsecret = \"a,id=1\"")],
            "this is no secret of a memif; use 1 to 23 letters, digits and /._-+@",
        );
        let messages = read(&[&MEMIF.replace("/run/c.sock", "c.sock")]).unwrap_err();
        assert!(messages[0].contains("use an absolute one"), "{messages:?}");
    }

    #[test]
    fn an_af_xdp_port_bounds_the_mtu_of_every_port() {
        let large = format!("{NIC}\nmtu = 9000");
        assert!(read(&[&large]).is_ok());
        refused(
            &[&large, XDP],
            "with the af_xdp port b no port can have an MTU above 3438, because a buffer must fit \
             a page; use that, or another kind of port there",
        );
    }

    #[test]
    fn a_tap_carries_little_more_than_the_usual_mtu() {
        refused(
            &["name = \"a\"\nkind = \"tap\"\ninterface = \"a\"\nmtu = 1505"],
            "a tap port carries an MTU of at most 1504; use that",
        );
    }
}
