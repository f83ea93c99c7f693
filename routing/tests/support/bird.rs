//! BIRD.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running BIRD; killed when dropped.
pub(crate) struct Bird {
    child: Child,
    directory: TempDir,
}

impl Bird {
    /// Starts BIRD on `address` with our usual gateway 198.51.100.10 as its neighbour; `session` is
    /// put into the protocol, `lines` beside it.
    pub(crate) fn start(address: &str, asn: u32, session: &str, lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "router id {address};\n\
             protocol device {{ }}\n\
             {lines}\n\
             protocol bgp upstream {{\n\
               local {address} as {asn};\n\
               neighbor 198.51.100.10 as 65010;\n\
               multihop 1; strict bind yes;\n\
               connect retry time 1; connect delay time 1; error wait time 1, 2;\n\
               {session}\n\
               ipv4 {{ import all; export all; next hop self; }};\n\
             }}\n"
        );
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(file("bird.conf"), config).unwrap();
        let child = Command::new("bird")
            .args(["-f", "-c", &file("bird.conf"), "-s", &file("bird.ctl")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(file("log")).unwrap())
            .spawn()
            .expect("BIRD is not installed");
        Self { child, directory }
    }

    /// What a birdc command prints.
    pub(crate) fn birdc(&self, command: &str) -> String {
        let socket = self.directory.path().join("bird.ctl");
        let output = Command::new("birdc")
            .args(["-s", socket.to_str().unwrap()])
            .args(command.split(' '))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn has(&self, prefix: &str) -> bool {
        self.birdc(&format!("show route {prefix}"))
            .contains("via 198.51.100.10")
            || self
                .birdc(&format!("show route {prefix} all"))
                .contains("BGP.next_hop: 198.51.100.10")
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
