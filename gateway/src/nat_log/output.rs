//! Where the log is written to, and what became of it.

use std::time::{Duration, Instant};

use sekisho_mgmt::nat_log::{Event, Record, Time};

use super::collector::Collector;
use super::file::LogFile;
use super::ipfix::Sent;
use super::record::record;
use super::{Names, Settings, Status, Timed};

/// How long the daemon's log is not told again that an output fails.
const QUIET: Duration = Duration::from_secs(60);

/// All outputs.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    names: Names,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    to: To,
    written: u64,
    failed: u64,
    last_error: String,
    warned: Option<Instant>,
}

#[derive(Debug)]
enum To {
    File(LogFile),
    Journal,
    Collector(Collector),
}

impl Outputs {
    /// Follows other settings. An output that stays goes on.
    pub(super) fn configure(&mut self, settings: &Settings, millis: i64) {
        self.names.learn(&settings.names);
        let config = &settings.config;
        let mut old = std::mem::take(&mut self.outputs);
        let mut keep = |is: &dyn Fn(&To) -> bool, new: To| {
            let known = old.iter().position(|output| is(&output.to));
            known.map_or_else(|| Output::new(new, millis), |at| old.swap_remove(at))
        };
        if let Some(path) = &config.file {
            let is = |to: &To| matches!(to, To::File(file) if file.path() == path);
            self.outputs.push(keep(&is, To::File(LogFile::new(path))));
        }
        if config.journal {
            let is = |to: &To| matches!(to, To::Journal);
            self.outputs.push(keep(&is, To::Journal));
        }
        let (source, interval) = (config.source, config.template_interval);
        for &address in &config.collectors {
            let is = |to: &To| matches!(to, To::Collector(own) if own.is(address, source));
            let new = To::Collector(Collector::new(address, source, interval));
            self.outputs.push(keep(&is, new));
        }
        for output in &mut self.outputs {
            match &mut output.to {
                To::File(file) => file.reopen(),
                To::Journal => {}
                To::Collector(collector) => collector.refresh(interval),
            }
        }
    }

    /// Writes events to all of them.
    pub(super) fn write(&mut self, batch: &[Timed], millis: i64) {
        let now = Instant::now();
        for output in &mut self.outputs {
            output.write(batch, &self.names, now, millis);
        }
    }

    /// Writes that the gateway stops.
    pub(super) fn close(&mut self, millis: i64) {
        for output in &mut self.outputs {
            output.mark(Event::Stop, millis);
        }
    }

    pub(super) fn status(&self) -> Vec<Status> {
        self.outputs.iter().map(Output::status).collect()
    }
}

impl Output {
    /// An output in which nothing from before goes on.
    fn new(to: To, millis: i64) -> Self {
        let mut output = Self {
            to,
            written: 0,
            failed: 0,
            last_error: String::new(),
            warned: None,
        };
        output.mark(Event::Start, millis);
        output
    }

    fn mark(&mut self, event: Event, millis: i64) {
        if let To::File(file) = &mut self.to {
            let line = line(&Record::new(Time::from_millis(millis), event));
            let error = file.append(line.as_bytes(), Instant::now()).err();
            let sent = Sent {
                error,
                ..Sent::default()
            };
            self.note(sent, Instant::now());
        }
    }

    fn write(&mut self, batch: &[Timed], names: &Names, now: Instant, millis: i64) {
        let sent = match &mut self.to {
            To::Collector(collector) => {
                let seconds = u32::try_from(millis / 1000).unwrap_or(u32::MAX);
                collector.write(batch, names, now, seconds)
            }
            _ if batch.is_empty() => return,
            To::File(file) => write_file(file, batch, names, now),
            To::Journal => write_journal(batch, names),
        };
        self.note(sent, now);
    }

    /// Counts, and tells the daemon's log of a failure, but not each time.
    fn note(&mut self, sent: Sent, now: Instant) {
        self.written += sent.written;
        self.failed += sent.failed;
        let Some(error) = sent.error else {
            return;
        };
        self.last_error = error.to_string();
        if self.warned.is_none_or(|warned| now >= warned + QUIET) {
            self.warned = Some(now);
            let Status { kind, target, .. } = self.status();
            tracing::warn!(kind, target, %error, "the translation log is not written");
        }
    }

    fn status(&self) -> Status {
        let (kind, target) = match &self.to {
            To::File(file) => ("file", file.path().display().to_string()),
            To::Journal => ("journal", String::new()),
            To::Collector(collector) => ("collector", collector.address().to_string()),
        };
        Status {
            kind,
            target,
            written: self.written,
            failed: self.failed,
            last_error: self.last_error.clone(),
        }
    }
}

fn write_file(file: &mut LogFile, batch: &[Timed], names: &Names, now: Instant) -> Sent {
    let records = batch.iter().filter_map(|timed| record(timed, names));
    let (lines, count) = records.fold((String::new(), 0), |(mut lines, count), record| {
        lines.push_str(&line(&record));
        (lines, count + 1)
    });
    match file.append(lines.as_bytes(), now) {
        Ok(()) => Sent {
            written: count,
            ..Sent::default()
        },
        Err(error) => Sent {
            failed: count,
            error: Some(error),
            ..Sent::default()
        },
    }
}

fn write_journal(batch: &[Timed], names: &Names) -> Sent {
    let mut sent = Sent::default();
    for record in batch.iter().filter_map(|timed| record(timed, names)) {
        tracing::info!(target: "nat_log", "{}", line(&record).trim_end());
        sent.written += 1;
    }
    sent
}

/// A record as a line. It holds nothing that cannot be JSON.
fn line(record: &Record) -> String {
    let mut line = record.to_json();
    line.push('\n');
    line
}
