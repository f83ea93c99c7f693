//! The translation log: who had an outside address and port, asked of its file, and of what a
//! collector that is not ours has received.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sekisho_tests::config::Config;
use sekisho_tests::lab::{Capture, Host, Process, Server, wait_until};
use sekisho_tests::topology::{GATEWAY_A, SERVER};
use serde_json::Value;

use crate::site::{SOON, Site, play};

/// Applies a configuration with a log that is also written to a file, and gives the file.
fn log_to_file(site: &Site, keys: &str) -> Result<PathBuf> {
    let file = site.topology.lab.dir().join("nat.log");
    apply_log(site, &format!("file = \"{}\"\n{keys}", file.display()))?;
    Ok(file)
}

fn apply_log(site: &Site, keys: &str) -> Result<()> {
    let mut config = Config::default();
    config.nat.push_str("\n[nat-log]\n");
    config.nat.push_str(keys);
    let said = site.sekishod.apply(&config.render())?;
    ensure!(said.contains("nat-log changed"), "{said}");
    Ok(())
}

/// The records of a file so far.
fn records(file: &PathBuf) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// Waits for a record of an event about an outside `ADDRESS:PORT`.
fn wait_record(file: &PathBuf, event: &str, outside: &str) -> Result<Value> {
    let what = format!("{} has {event} of {outside}", file.display());
    wait_until(SOON, &what, || {
        let all = records(file)?;
        let about = |record: &&Value| record["event"] == event && is_about(record, outside);
        let found = all.iter().find(about).cloned();
        found.with_context(|| format!("{all:#?}"))
    })
}

fn is_about(record: &Value, outside: &str) -> bool {
    let address = record["outside_address"].as_str().unwrap_or_default();
    format!("{address}:{}", record["outside_port"]) == outside
}

/// Sends a datagram from port 4000 of a host to the server: the outside address and port.
fn outside_of(host: &Host) -> Result<String> {
    Server::hold(host, 4000, &format!("{SERVER}:7001"))?.seen_as()
}

#[test]
fn c12_the_file_names_who_had_an_outside_port_and_no_destination() -> Result<()> {
    play(|site| {
        let file = log_to_file(site, "level = \"mappings\"\n")?;
        let topology = &site.topology;
        let _echo = Server::echo(&topology.server, &[7001])?;
        let _web = Server::web(&topology.server, 80)?;
        for (host, tenant) in [
            (&topology.blue_web1, "blue"),
            (&topology.green_web1, "green"),
        ] {
            let outside = outside_of(host)?;
            let record = wait_record(&file, "mapping-created", &outside)?;
            ensure!(record["tenant"] == tenant, "{record}");
            ensure!(record["protocol"] == "udp", "{record}");
            ensure!(record["pool"] == "public", "{record}");
            ensure!(record["inside_address"] == "172.16.10.11", "{record}");
            ensure!(record["inside_port"] == 4000, "{record}");
            let minute = record["time"].as_str().context("no time")?[..16].to_owned();
            let today = topology.server.run("date -u +%FT")?;
            ensure!(minute.starts_with(today.trim()), "{record}");
            let question = format!("show nat who {outside} udp --at {minute}");
            let answers = site.sekishod.cli_json(&question)?;
            let answers = answers.as_array().context("no list")?;
            ensure!(answers.len() == 1, "{answers:?}");
            ensure!(answers[0]["tenant"] == tenant, "{answers:?}");
            ensure!(
                answers[0]["inside_address"] == "172.16.10.11",
                "{answers:?}"
            );
        }

        let page = topology.blue_web2.fetch(SERVER)?;
        let outside = page.rsplit("you are ").next().context("no address")?;
        let outside = outside.trim();
        let record = wait_record(&file, "mapping-created", outside)?;
        ensure!(record["inside_address"] == "172.16.10.12", "{record}");
        ensure!(record["protocol"] == "tcp", "{record}");

        site.sekishod.cli("clear nat sessions --all")?;
        wait_record(&file, "mapping-deleted", outside)?;
        let text = fs::read_to_string(&file)?;
        ensure!(!text.contains("192.0.2."), "{text}");
        let shown = site.sekishod.cli("show nat log")?;
        ensure!(shown.starts_with("Level mappings, "), "{shown}");
        ensure!(shown.contains(" 0 lost"), "{shown}");
        Ok(())
    })
}

#[test]
fn c12_sessions_have_destinations_once_the_configuration_says_so() -> Result<()> {
    play(|site| {
        let file = log_to_file(site, "level = \"sessions\"\n")?;
        let _echo = Server::echo(&site.topology.server, &[7001])?;
        let outside = outside_of(&site.topology.blue_web1)?;
        let record = wait_record(&file, "session-created", &outside)?;
        ensure!(record.get("remote_address").is_none(), "{record}");
        log_to_file(site, "level = \"sessions\"\ndestinations = true\n")?;
        let outside = outside_of(&site.topology.blue_web2)?;
        let record = wait_record(&file, "session-created", &outside)?;
        ensure!(record["remote_address"] == SERVER, "{record}");
        ensure!(record["remote_port"] == 7001, "{record}");
        site.sekishod.terminate()?;
        let all = records(&file)?;
        let events: Vec<&Value> = all.iter().map(|record| &record["event"]).collect();
        ensure!(events[0] == "start", "{events:?}");
        ensure!(events[events.len() - 1] == "stop", "{events:?}");
        Ok(())
    })
}

#[test]
fn c14_a_host_that_opens_many_flows_has_one_line_for_its_block() -> Result<()> {
    play(|site| {
        let file = log_to_file(site, "level = \"blocks\"\njournal = true\n")?;
        let _echo = Server::echo(&site.topology.server, &[7001])?;
        let mut ports = Vec::new();
        for port in 4000..4010 {
            let seen = site
                .topology
                .blue_web1
                .ask(port, &[&format!("{SERVER}:7001")])?;
            let seen = seen.first().context("no answer")?;
            let port = seen.rsplit(':').next().context("no port")?;
            ports.push(port.trim().parse::<u64>()?);
        }
        site.sekishod.cli("clear nat sessions --all")?;
        let all = wait_until(SOON, "the block is released", || {
            let all = records(&file)?;
            let released = |record: &Value| {
                record["event"] == "block-released" && record["inside_address"] == "172.16.10.11"
            };
            ensure!(all.iter().any(released), "{all:#?}");
            Ok(all)
        })?;
        let of_host = |record: &&Value| record["inside_address"] == "172.16.10.11";
        let events: Vec<&Value> = all.iter().filter(of_host).collect();
        ensure!(events.len() == 2, "{events:#?}");
        let first = events[0]["first_port"].as_u64().context("no port")?;
        let last = events[0]["last_port"].as_u64().context("no port")?;
        ensure!(
            last - first == 63 && ports.iter().all(|port| (first..=last).contains(port)),
            "{ports:?} are not all in {first} to {last}"
        );
        let journal = site.sekishod.log();
        ensure!(journal.contains("block-allocated"), "{journal}");
        Ok(())
    })
}

#[test]
fn the_log_survives_rotation_and_a_crash_ends_what_was_open() -> Result<()> {
    play(|site| {
        let file = log_to_file(site, "")?;
        let rotated = PathBuf::from(format!("{}.1", file.display()));
        let _echo = Server::echo(&site.topology.server, &[7001])?;
        let outside = outside_of(&site.topology.blue_web1)?;
        let begun = wait_record(&file, "mapping-created", &outside)?;
        fs::rename(&file, &rotated)?;
        let pid = i32::try_from(site.sekishod.process()?.pid())?;
        kill(Pid::from_raw(pid), Signal::SIGHUP)?;
        wait_until(SOON, "the new file is written to", || {
            site.sekishod.cli("clear nat sessions --all")?;
            let outside = outside_of(&site.topology.blue_web2)?;
            let all = records(&file)?;
            ensure!(
                all.iter().any(|record| is_about(record, &outside)),
                "{all:#?}"
            );
            Ok(())
        })?;

        // Both files are searched.
        let minute = &begun["time"].as_str().context("no time")?[..16];
        let question = format!("show nat who {outside} udp --at {minute}");
        let answers = site.sekishod.cli_json(&question)?;
        ensure!(answers[0]["since"] == begun["time"], "{answers}");
        ensure!(answers[0]["until"].is_string(), "{answers}");

        let outside = outside_of(&site.topology.green_web1)?;
        wait_record(&file, "mapping-created", &outside)?;
        site.sekishod.kill()?;
        site.sekishod.run()?;
        let answers = site
            .sekishod
            .cli_json(&format!("show nat who {outside} udp"))?;
        let answers = answers.as_array().context("no list")?;
        let last = answers.last().context("no answer")?;
        ensure!(last["tenant"] == "green", "{answers:?}");
        ensure!(last["until"].is_string(), "{answers:?}");
        Ok(())
    })
}

#[test]
fn a_full_disk_stops_nothing_and_is_told_once() -> Result<()> {
    play(|site| {
        apply_log(site, "file = \"/dev/full\"\n")?;
        let _echo = Server::echo(&site.topology.server, &[7001])?;
        for host in [&site.topology.blue_web1, &site.topology.green_web1] {
            outside_of(host)?;
        }
        let shown = site
            .sekishod
            .wait_cli("show nat log", "No space left on device", SOON)?;
        wait_until(SOON, "failures are counted", || {
            let log = site.sekishod.cli_json("show nat log")?;
            let failed = log["outputs"][0]["failed"].as_u64();
            ensure!(failed >= Some(2), "{log}");
            Ok(())
        })?;
        let log = site.sekishod.log();
        let told = log.matches("the translation log is not written").count();
        ensure!(told == 1, "told {told} times:\n{log}\n{shown}");
        Ok(())
    })
}

/// Starts nfcapd on the server.
fn collect(server: &Host, dir: &PathBuf) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let command = format!("nfcapd -p 4739 -w {} -t 3600 -b {SERVER}", dir.display());
    let mut process = server.spawn("nfcapd", &command)?;
    process.wait_for_log(SOON, "Startup")?;
    Ok(process)
}

#[test]
fn collectors_are_told_who_had_an_outside_port() -> Result<()> {
    play(|site| {
        let server = &site.topology.server;
        let dir = site.topology.lab.dir().join("nfcapd");
        let mut nfcapd = collect(server, &dir)?;
        let capture = Capture::start(server, "eth0", "udp port 4739")?;
        let collectors = format!(
            "collectors = [\"{SERVER}:4739\"]\nsource = \"{GATEWAY_A}\"\ntemplate-interval = \"1s\"\n"
        );
        apply_log(site, &format!("level = \"mappings\"\n{collectors}"))?;
        let _echo = Server::echo(server, &[7001])?;
        let outside = outside_of(&site.topology.green_web1)?;
        let (address, port) = outside.split_once(':').context("no port")?;

        // The reader of another project names the host.
        let created = format!(
            "cflow.post_natsource_ipv4_address == {address} && \
             cflow.post_naptsource_transport_port == {port} && cflow.nat_event == 8"
        );
        capture.wait(&created, 1, SOON)?;
        let fields = ["cflow.srcaddr", "cflow.srcport", "cflow.protocol"];
        let packets = capture.packets(&created, &fields)?;
        let holds = |field: usize, value: &str| {
            let values = packets[0][field].split(',');
            values.into_iter().any(|found| found == value)
        };
        ensure!(
            holds(0, "172.16.10.11") && holds(1, "4000") && holds(2, "17"),
            "{packets:?}"
        );
        // Names come with the templates, and templates come again.
        let named = "cflow.vrfname == \"green\"";
        capture.wait(named, 2, SOON)?;

        apply_log(site, &format!("level = \"blocks\"\n{collectors}"))?;
        site.sekishod.cli("clear nat sessions --all")?;
        outside_of(&site.topology.blue_web1)?;
        capture.wait("cflow.nat_event == 16 && cflow.port_range_start", 1, SOON)?;

        nfcapd.stop(Signal::SIGTERM, SOON)?;
        let listed = server.run(&format!(
            "nfdump -R {} -q -o 'fmt:%nevt %pr %sap %nsap'",
            dir.display()
        ))?;
        let words: Vec<&str> = listed.split_whitespace().collect();
        let line = words.join(" ");
        ensure!(
            line.contains("172.16.10.11:4000") && line.contains(&outside),
            "{listed}"
        );
        Ok(())
    })
}
