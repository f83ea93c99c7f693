//! A topology with a running daemon, and how a test plays on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Host, Sekishod, wait_until};
use sekisho_tests::topology::{RouterConfig, Topology};

/// Long enough for anything that happens at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What a test plays on. Fields are dropped in order: the laboratory last.
pub(crate) struct Site {
    pub(crate) sekishod: Sekishod,
    pub(crate) topology: Topology,
}

/// Plays on the default topology and configuration, everything up.
pub(crate) fn play(scene: impl FnOnce(&mut Site) -> Result<()>) -> Result<()> {
    play_config(&Config::default(), scene)
}

/// Plays on the default topology with this configuration, everything up.
pub(crate) fn play_config(
    config: &Config,
    scene: impl FnOnce(&mut Site) -> Result<()>,
) -> Result<()> {
    play_routers(
        config,
        &RouterConfig::frr_a(),
        &RouterConfig::frr_b(),
        scene,
    )
}

/// Plays with one worker and then, anew, with two: whose state it is must not matter.
pub(crate) fn play_both(config: &Config, scene: impl Fn(&mut Site) -> Result<()>) -> Result<()> {
    for workers in [1, 2] {
        let config = config.replace("workers = 2\n", &format!("workers = {workers}\n"));
        play_config(&config, &scene).with_context(|| format!("with {workers} workers"))?;
    }
    Ok(())
}

/// Plays with these upstream routers, everything up.
pub(crate) fn play_routers(
    config: &Config,
    isp_a: &RouterConfig,
    isp_b: &RouterConfig,
    scene: impl FnOnce(&mut Site) -> Result<()>,
) -> Result<()> {
    let topology = Topology::build_with(isp_a, isp_b)?;
    let sekishod = topology.start(config)?;
    act(Site { sekishod, topology }, scene)
}

/// Plays with the daemon prepared and not started.
pub(crate) fn play_unstarted(
    config: &Config,
    isp_a: &RouterConfig,
    isp_b: &RouterConfig,
    scene: impl FnOnce(&mut Site) -> Result<()>,
) -> Result<()> {
    let topology = Topology::build_with(isp_a, isp_b)?;
    let sekishod = Sekishod::prepare(&topology.gateway, &config.render())?;
    act(Site { sekishod, topology }, scene)
}

/// Runs the scene; what went wrong is told with what the daemon knows.
pub(crate) fn act(mut site: Site, scene: impl FnOnce(&mut Site) -> Result<()>) -> Result<()> {
    scene(&mut site).with_context(|| {
        let log = site.sekishod.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        let drops = site.sekishod.cli("show drops").unwrap_or_default();
        format!("the end of sekishod's log:\n{tail}\nits drops:\n{drops}\nwhat went wrong")
    })
}

impl Site {
    /// Waits until the counter of a drop reason exceeds `before`.
    pub(crate) fn wait_dropped(&self, reason: &str, before: u64) -> Result<()> {
        wait_until(SOON, &format!("{reason} is counted"), || {
            let now = self.sekishod.drops(reason)?;
            ensure!(now > before, "{now}");
            Ok(())
        })
    }

    /// How often FRR on isp-a and isp-b has established its session with the gateway.
    pub(crate) fn established_counts(&self) -> Result<[u64; 2]> {
        let count = |router: &sekisho_tests::topology::Router, gateway: &str| -> Result<u64> {
            router.frr()?.neighbor(gateway)?["connectionsEstablished"]
                .as_u64()
                .context("FRR does not count established connections")
        };
        Ok([
            count(&self.topology.isp_a, sekisho_tests::topology::GATEWAY_A)?,
            count(&self.topology.isp_b, sekisho_tests::topology::GATEWAY_B)?,
        ])
    }
}

/// The Ethernet address a host has resolved for `address`, after a ping.
pub(crate) fn resolved(host: &Host, address: &str) -> Result<String> {
    host.wait_ping(address, SOON)?;
    let text = host.run(&format!("ip neigh show {address}"))?;
    let mut words = text.split_whitespace().skip_while(|&word| word != "lladdr");
    words
        .nth(1)
        .map(str::to_owned)
        .with_context(|| format!("no lladdr in {text:?}"))
}
