//! From events to the records of the log's file.

use sekisho_mgmt::nat_log::{Event, Record, Time};
use sekisho_nat::{LogEvent, LogKind, LogSource, Refusal};
use sekisho_types::IpProtocol;

use super::{Names, Timed};

/// The record of an event; `None` of a refusal that is not told.
pub(super) fn record(timed: &Timed, names: &Names) -> Option<Record> {
    let Timed { millis, event } = *timed;
    let time = Time::from_millis(millis);
    let mut record = Record::new(time, kind(event.kind)?);
    let tenant = names.tenants.get(&event.vrf.value());
    record.tenant = tenant.map(ToString::to_string);
    record.protocol = protocol(event.protocol).map(str::to_owned);
    if !event.inside.ip().is_unspecified() {
        record.inside_address = Some(*event.inside.ip());
    }
    if !event.outside.ip().is_unspecified() {
        record.outside_address = Some(*event.outside.ip());
    }
    match event.from {
        LogSource::Pool(pool) => {
            record.pool = names.pools.get(&pool.value()).map(ToString::to_string);
        }
        LogSource::Uplink(uplink) => {
            record.uplink = names.uplinks.get(&uplink.value()).map(ToString::to_string);
        }
        LogSource::Other => {}
    }
    ports(&event, &mut record);
    Some(record)
}

fn ports(event: &LogEvent, record: &mut Record) {
    match event.kind {
        LogKind::BlockAllocated | LogKind::BlockReleased => {
            record.first_port = Some(event.outside.port());
            record.last_port = Some(event.last_port);
        }
        LogKind::Refused(_) => {}
        _ => {
            record.inside_port = Some(event.inside.port());
            record.outside_port = Some(event.outside.port());
        }
    }
    if let Some(remote) = event.remote {
        record.remote_address = Some(*remote.ip());
        record.remote_port = Some(remote.port());
    }
}

fn kind(kind: LogKind) -> Option<Event> {
    Some(match kind {
        LogKind::SessionCreated => Event::SessionCreated,
        LogKind::SessionDeleted => Event::SessionDeleted,
        LogKind::MappingCreated => Event::MappingCreated,
        LogKind::MappingDeleted => Event::MappingDeleted,
        LogKind::BlockAllocated => Event::BlockAllocated,
        LogKind::BlockReleased => Event::BlockReleased,
        LogKind::Refused(Refusal::PortsExhausted) => Event::NatPortsExhausted,
        LogKind::Refused(Refusal::HostLimit) => Event::NatHostLimit,
        LogKind::Refused(Refusal::TenantLimit) => Event::NatTenantLimit,
        LogKind::Refused(Refusal::TenantRate) => Event::NatTenantRate,
        LogKind::Refused(Refusal::TenantPorts) => Event::NatTenantPorts,
        LogKind::Refused(Refusal::HostSessions) => Event::NatHostSessions,
        LogKind::Refused(Refusal::HostRate) => Event::NatHostRate,
        LogKind::Refused(_) => return None,
    })
}

pub(super) const fn protocol(protocol: IpProtocol) -> Option<&'static str> {
    match protocol {
        IpProtocol::TCP => Some("tcp"),
        IpProtocol::UDP => Some("udp"),
        IpProtocol::ICMP => Some("icmp"),
        _ => None,
    }
}
