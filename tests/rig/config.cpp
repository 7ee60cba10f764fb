#include "config.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace rig {
namespace {

std::string trim(const std::string& s) {
    const char* blank = " \t\r\n";
    const size_t from = s.find_first_not_of(blank);
    return from == std::string::npos ? "" : s.substr(from, s.find_last_not_of(blank) - from + 1);
}

bool number(const std::string& text, uint64_t& out) {
    char* end = nullptr;
    const double x = strtod(text.c_str(), &end);
    if (end == text.c_str() || x < 0) return false;
    const std::string unit = trim(end);
    const double scale = unit == ""      ? 1
                         : unit == "KiB" ? 1024.
                         : unit == "MiB" ? 1048576.
                         : unit == "GiB" ? 1073741824.
                                         : 0;
    out = (uint64_t)(x * scale);
    return scale != 0;
}

int default_bus(int die) { return 4 + die / 2 * 4 + die % 2; }

bool set_die(DieConfig& d, const std::string& key, const std::string& value) {
    uint64_t n = 0;
    if (key == "name") return d.name = value, true;
    if (key == "cc") return sscanf(value.c_str(), "%d.%d", &d.major, &d.minor) == 2;
    if (!number(value, n)) return false;
    if (key == "memory") d.memory = n;
    else if (key == "hidden") d.hidden = n;
    else if (key == "overhead") d.overhead = n;
    else if (key == "module") d.module = n;
    else if (key == "sms") d.sms = (int)n;
    else if (key == "clock") d.clock = (int)n;
    else if (key == "memory_clock") d.memory_clock = (int)n;
    else if (key == "bus") d.bus = (int)n;
    else if (key == "ecc") d.ecc = (int)n;
    else if (key == "pci") d.pci = (int)n;
    else return false;
    return true;
}

bool peer_of(const std::string& value, Peer& peer) {
    if (value != "yes" && value != "no" && value != "lies") return false;
    peer = value == "yes" ? Peer::yes : value == "no" ? Peer::no : Peer::lies;
    return true;
}

bool set(Config& c, const std::string& key, const std::string& value) {
    uint64_t n = 0;
    int a = -1, b = -1, used = 0;
    Peer peer;
    const int count = (int)c.dies.size();
    if (key == "peer") {
        if (!peer_of(value, peer)) return false;
        for (auto& row : c.peer)
            for (Peer& p : row) p = peer;
        return true;
    }
    if (sscanf(key.c_str(), "peer.%d.%d", &a, &b) == 2) {
        if (a < 0 || b < 0 || a >= count || b >= count || !peer_of(value, peer)) return false;
        c.peer[a][b] = peer;
        return true;
    }
    if (sscanf(key.c_str(), "die.%d.%n", &a, &used) == 1 && used > 0)
        return a >= 0 && a < count && set_die(c.dies[a], key.substr(used), value);
    if (key == "dies") {
        if (!number(value, n) || n > max_dies) return false;
        const int before = count;
        c.dies.resize(n, before ? c.dies[0] : DieConfig());
        for (int i = before; i < (int)n; i++) c.dies[i].pci = default_bus(i);
        return true;
    }
    bool* flag = key == "defer"       ? &c.defer
                 : key == "poison"    ? &c.poison
                 : key == "unwritten" ? &c.unwritten
                 : key == "reverse"   ? &c.reverse
                 : key == "races"     ? &c.races
                 : key == "execute"   ? &c.execute
                 : key == "small_cache" ? &c.small_cache
                                      : nullptr;
    if (flag) return number(value, n) && (*flag = n != 0, true);
    if (key == "without") return c.without = value, true;
    if (key == "driver") return number(value, n) && (c.driver = (int)n, true);
    if (key == "host_limit") return number(value, c.host_limit);
    bool known = true;
    for (DieConfig& d : c.dies) known = set_die(d, key, value) && known;
    return known;
}

}  // namespace

Config::Config() {
    dies.resize(1);
    dies[0].pci = default_bus(0);
    for (auto& row : peer)
        for (Peer& p : row) p = Peer::yes;
}

std::string parse(const std::string& text, Config& config) {
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) {
        std::istringstream settings(line.substr(0, line.find('#')));
        std::string setting;
        while (std::getline(settings, setting, ';')) {
            setting = trim(setting);
            if (setting.empty()) continue;
            const size_t equals = setting.find('=');
            if (equals == std::string::npos) return "'" + setting + "' is no key = value";
            if (!set(config, trim(setting.substr(0, equals)), trim(setting.substr(equals + 1))))
                return "'" + setting + "' is not understood";
        }
    }
    return "";
}

std::string environment() {
    const char* value = getenv("REKINDLE_RIG");
    if (!value) return "";
    std::ifstream file(value);
    if (!file) return value;
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace rig
