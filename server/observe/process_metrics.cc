// process_*: the names that every Prometheus client library uses for these figures.
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "server/observe/metric_family.h"
#include "server/observe/metrics_page.h"

namespace contextpool::server {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

struct Memory {
  double virtual_bytes = 0;
  double resident_bytes = 0;
};

Memory ReadMemory() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  return {static_cast<double>(size) * page, static_cast<double>(resident) * page};
}

double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin(files), end(files)));
}

double MostFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// Boot time plus the process's start after boot.
double ReadStartTime() {
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  // Field 22, counted from 1; the name in field 2 may hold spaces but ends with the last ')'.
  size_t position = line.rfind(')');
  for (int field = 2; field < 22 && position != std::string::npos; ++field) {
    position = line.find(' ', position + 1);
  }
  if (position == std::string::npos) return 0;
  const double ticks = std::strtod(line.c_str() + position, nullptr);
  std::ifstream boot("/proc/stat");
  for (std::string key; boot >> key;) {
    double value = 0;
    if (key == "btime" && boot >> value) {
      return value + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
  }
  return 0;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessCollectable::Collect() const {
  static const double start_time = ReadStartTime();
  const Memory memory = ReadMemory();
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&families](const char* name, const char* help, prometheus::MetricType type,
                               double value) {
    FamilyBuilder family(name, help, type);
    family.Add({}, value);
    families.push_back(family.Take());
  };
  using Type = prometheus::MetricType;
  add("process_cpu_seconds_total", "Processor time used.", Type::Counter, CpuSeconds());
  add("process_resident_memory_bytes", "Memory in use.", Type::Gauge, memory.resident_bytes);
  add("process_virtual_memory_bytes", "Address space in use.", Type::Gauge, memory.virtual_bytes);
  add("process_open_fds", "Open file descriptors.", Type::Gauge, OpenFiles());
  add("process_max_fds", "Most file descriptors allowed.", Type::Gauge, MostFiles());
  add("process_start_time_seconds", "Start, in seconds since 1970.", Type::Gauge, start_time);
  return families;
}

}  // namespace contextpool::server
