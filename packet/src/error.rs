//! Why bytes are refused.

/// Why bytes are no packet of the expected kind, or cannot be changed as asked.
///
/// Small and free of formatting, so that a drop on the packet path costs a number: see
/// [`PacketError::label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than an Ethernet header, with its tag if there is one.
    #[error("Ethernet frame is cut short; a header is 14 bytes, 18 with an 802.1Q tag")]
    EthernetTruncated,
    /// Fewer bytes than an ARP packet.
    #[error("ARP packet is cut short; for Ethernet and IPv4 it is 28 bytes")]
    ArpTruncated,
    /// An ARP packet for other than Ethernet and IPv4.
    #[error(
        "ARP packet is not for Ethernet and IPv4; expected types 1 and 0x0800, lengths 6 and 4"
    )]
    ArpKind,
    /// Fewer bytes than an IPv4 header with its options.
    #[error("IPv4 header is cut short; it is 20 to 60 bytes, as its IHL says")]
    Ipv4Truncated,
    /// The version is not 4.
    #[error("IPv4 header has another version; expected 4")]
    Ipv4Version,
    /// IHL below five.
    #[error("IPv4 header length is below 20 bytes; IHL is 5 to 15")]
    Ipv4HeaderLength,
    /// Total length below the header's or beyond the buffer.
    #[error("IPv4 total length is impossible; it is at least the header and at most what arrived")]
    Ipv4TotalLength,
    /// The header checksum does not verify.
    #[error("IPv4 header checksum is wrong; the header must sum to 0xffff")]
    Ipv4Checksum,
    /// Time to live used up.
    #[error("IPv4 time to live is used up; a packet to forward needs 2 or more")]
    TtlExpired,
    /// A malformed IPv4 or TCP option.
    #[error(
        "option list is malformed; each option's length is at least 2 and ends inside the header"
    )]
    Options,
    /// Fewer bytes than an IPv6 header.
    #[error("IPv6 header is cut short; it is 40 bytes")]
    Ipv6Truncated,
    /// The version is not 6.
    #[error("IPv6 header has another version; expected 6")]
    Ipv6Version,
    /// Payload length beyond the buffer.
    #[error("IPv6 payload length is beyond what arrived")]
    Ipv6PayloadLength,
    /// Extension headers cut short.
    #[error("IPv6 extension headers do not end inside the packet")]
    Ipv6ExtensionTruncated,
    /// More extension headers than are walked.
    #[error("IPv6 packet has more extension headers than the 8 that are walked")]
    Ipv6ExtensionCount,
    /// Hop limit used up.
    #[error("IPv6 hop limit is used up; a packet to forward needs 2 or more")]
    HopLimitExpired,
    /// A neighbour discovery message that came over a router.
    #[error("neighbour discovery message is from beyond the link; its hop limit must be 255")]
    DiscoveryHopLimit,
    /// A neighbour discovery message that breaks a rule of RFC 4861.
    #[error("neighbour discovery message is malformed; RFC 4861 sections 6.1 and 7.1 say how")]
    DiscoveryMalformed,
    /// Fewer bytes than a UDP header.
    #[error("UDP header is cut short; it is 8 bytes")]
    UdpTruncated,
    /// UDP length below 8 or beyond the IP payload.
    #[error("UDP length is impossible; it is at least 8 and at most the IP payload")]
    UdpLength,
    /// Fewer bytes than a TCP header with its options.
    #[error("TCP header is cut short; it is 20 to 60 bytes, as its data offset says")]
    TcpTruncated,
    /// Data offset below five.
    #[error("TCP data offset is below 20 bytes; it is 5 to 15 words")]
    TcpDataOffset,
    /// Fewer bytes than an ICMP header.
    #[error("ICMP message is cut short; its header is 8 bytes")]
    IcmpTruncated,
    /// An operation on ICMP errors met another ICMP message.
    #[error("ICMP message is no error; expected type 3, 4, 5, 11 or 12")]
    IcmpNotError,
    /// An operation on ICMP echo requests met something else.
    #[error("packet is no ICMP echo request; expected an unfragmented type 8, code 0")]
    IcmpNotEchoRequest,
    /// The packet quoted in an ICMP error is no IPv4 packet, or its header is incomplete or wrong.
    #[error("packet embedded in the ICMP error is malformed; a whole, valid IPv4 header is needed")]
    EmbeddedMalformed,
    /// The quote in an ICMP error ends before the ports.
    #[error("packet embedded in the ICMP error ends before its ports; 8 bytes of L4 are needed")]
    EmbeddedTruncated,
    /// Fewer bytes than a VXLAN header.
    #[error("VXLAN header is cut short; it is 8 bytes")]
    VxlanTruncated,
    /// The I flag is clear.
    #[error("VXLAN header has no valid VNI; flag I must be 1")]
    VxlanNoVni,
    /// A fragment without the L4 header was given where that header is needed.
    #[error("packet holds no L4 header where one is needed; it is a later fragment or cut short")]
    NoTransport,
    /// A frame to be encapsulated that no IPv4 packet can hold.
    #[error("frame is too long to encapsulate; an IPv4 packet holds 65535 bytes")]
    TooLong,
    /// The buffer to write to is too small.
    #[error("buffer is too small for the packet to be written")]
    BufferTooSmall,
}

impl PacketError {
    /// A short static name, fit for a drop counter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::EthernetTruncated => "ethernet-truncated",
            Self::ArpTruncated => "arp-truncated",
            Self::ArpKind => "arp-kind",
            Self::Ipv4Truncated => "ipv4-truncated",
            Self::Ipv4Version => "ipv4-version",
            Self::Ipv4HeaderLength => "ipv4-header-length",
            Self::Ipv4TotalLength => "ipv4-total-length",
            Self::Ipv4Checksum => "ipv4-checksum",
            Self::TtlExpired => "ttl-expired",
            Self::Options => "options-malformed",
            Self::Ipv6Truncated => "ipv6-truncated",
            Self::Ipv6Version => "ipv6-version",
            Self::Ipv6PayloadLength => "ipv6-payload-length",
            Self::Ipv6ExtensionTruncated => "ipv6-extension-truncated",
            Self::Ipv6ExtensionCount => "ipv6-extension-count",
            Self::HopLimitExpired => "hop-limit-expired",
            Self::DiscoveryHopLimit => "discovery-hop-limit",
            Self::DiscoveryMalformed => "discovery-malformed",
            Self::UdpTruncated => "udp-truncated",
            Self::UdpLength => "udp-length",
            Self::TcpTruncated => "tcp-truncated",
            Self::TcpDataOffset => "tcp-data-offset",
            Self::IcmpTruncated => "icmp-truncated",
            Self::IcmpNotError => "icmp-not-error",
            Self::IcmpNotEchoRequest => "icmp-not-echo-request",
            Self::EmbeddedMalformed => "icmp-embedded-malformed",
            Self::EmbeddedTruncated => "icmp-embedded-truncated",
            Self::VxlanTruncated => "vxlan-truncated",
            Self::VxlanNoVni => "vxlan-no-vni",
            Self::NoTransport => "no-transport-header",
            Self::TooLong => "encapsulation-too-long",
            Self::BufferTooSmall => "buffer-too-small",
        }
    }
}
