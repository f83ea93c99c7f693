//! Receive offloads that merge packets: a packet socket then sees superframes larger than the MTU.

use std::process::{Command, Stdio};

use crate::HostError;
use crate::interface_name::InterfaceName;

const PROGRAM: &str = "ethtool";

/// As `ethtool -k` shows it, and as `ethtool -K` takes it.
const MERGING: [(&str, &str); 3] = [
    ("generic-receive-offload", "gro"),
    ("large-receive-offload", "lro"),
    ("rx-gro-hw", "rx-gro-hw"),
];

/// Turns off what merges packets, and returns what was on.
pub(crate) fn turn_off_merging(interface: &InterfaceName) -> Result<Vec<&'static str>, HostError> {
    let shown = ethtool(&["-k", interface.as_str()])?;
    let on = merging_features(&shown);
    switch(interface, &on, "off")?;
    Ok(on)
}

/// Turns features on again.
pub(crate) fn turn_on(interface: &InterfaceName, features: &[&str]) -> Result<(), HostError> {
    switch(interface, features, "on")
}

fn switch(interface: &InterfaceName, features: &[&str], to: &str) -> Result<(), HostError> {
    if features.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["-K", interface.as_str()];
    for feature in features {
        arguments.extend([feature, to]);
    }
    ethtool(&arguments).map(|_| ())
}

/// Those that are on; a feature fixed on cannot be turned off, and shows in the attempt.
fn merging_features(shown: &str) -> Vec<&'static str> {
    let is_on = |label: &str| {
        shown.lines().any(|line| {
            line.trim()
                .strip_prefix(label)
                .and_then(|rest| rest.strip_prefix(": "))
                .is_some_and(|state| state.starts_with("on"))
        })
    };
    let on = MERGING.iter().filter(|(label, _)| is_on(label));
    on.map(|(_, feature)| *feature).collect()
}

fn ethtool(arguments: &[&str]) -> Result<String, HostError> {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| HostError::Program {
            program: PROGRAM,
            package: "ethtool",
            source,
        })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(HostError::Refused {
            program: PROGRAM,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_merging_features_that_are_on_are_found() {
        let shown = "Features for eth0:\n\
            rx-checksumming: on\n\
            generic-segmentation-offload: on\n\
            generic-receive-offload: on\n\
            large-receive-offload: off [fixed]\n\
            rx-gro-hw: on\n\
            rx-gro-list: off\n";
        assert_eq!(merging_features(shown), ["gro", "rx-gro-hw"]);
        assert!(merging_features("").is_empty());
    }
}
