// The findings for people.
#pragma once

#include <string>

#include "clients/cli/bench/findings.h"

namespace contextpool::cli::bench {

// What is measured, in a line or two.
std::string Headline(const Findings& findings);

// One row a load point, with rows for classes and deadlines under it, what went wrong as notes, and
// what the columns mean.
std::string TableOf(const Findings& findings);

// One line about a probe of a rate search: "212 calls/s: p99 18.3 ms, 0 not OK: holds".
std::string DescribeProbe(const PointResult& result, ProbeOutcome outcome);

// What a rate search found.
std::string DescribeSearch(const RateSearch& search);

}  // namespace contextpool::cli::bench
