// The TCP connections of an attempt, as a list of terms.

import { terms, value } from "./format.js";

/** What Tstat or the kernel counted. */
export function tcpTerms(tcp) {
  const known = (name, unit = "") => value(name, tcp[name], unit, tcp.reasons[name]);
  return terms([
    ["connections", known("connections")], ["payload, both ways", known("bytes", "bytes")], ["segments sent again", known("retransmitted", "1")],
    ["mean round trip", known("rtt", "s")], ["time with a connection", known("active_time", "s")], ["payload over that time", known("throughput", "bytes/s")],
    ["certain to be this attempt's", known("confidence", "1")],
  ]);
}
