// SPDX-License-Identifier: MIT
//
// quarryctl attack: a client that does everything it must not, and sees it refused.
//
// Each attack is one call that the rules of <linux/quarry.h> forbid, whatever other clients do
// meanwhile; an attack that is not refused is a failure of Quarry, and so is any change of what this
// client honestly owns. Which errno it was is counted: under concurrency several can be right (an
// offset freed a moment ago may be another client's already).
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "attack.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "Joins the pool in $QUARRY_POOL_FD and misuses it: double frees, frees of other clients' objects, "
    "wild, misaligned and inner offsets, malformed structures, bad addresses, calls from another "
    "process. Everything must be refused.\v"
    "SIGTERM ends the attack early, with its report.\n\n"
    "Examples:\n"
    "  quarryctl create --bytes 16M -- quarryctl attack --seconds 5\n"
    "  quarryctl attack --count 100000 --victim 4096 --victim 8192 --json\n\n"
    "Exit status: 0 everything was refused; 1 something was not; 2 usage; 4 no pool in "
    "$QUARRY_POOL_FD; 5 the pool cannot be used.\n";

enum Key { seconds_key = 256, count_key, victim_key, seed_key };

constexpr argp_option options[] = {
    {"seconds", seconds_key, "N", 0, "attack for that long (default 2)", 0},
    {"count", count_key, "N", 0, "stop after that many attacks", 0},
    {"victim", victim_key, "OFFSET", 0, "free this offset of another client again and again", 0},
    {"seed", seed_key, "N", 0, "of the random numbers (default 1)", 0},
    {"json", 'j', nullptr, 0, "print one JSON object", 0},
    {},
};

struct Arguments {
    std::uint64_t seconds = 2;
    std::uint64_t count = UINT64_MAX;
    std::uint64_t seed = 1;
    std::vector<std::uint64_t> victims;
    bool as_json = false;
};

error_t parse(int key, char* text, argp_state* state) {
    auto& arguments = *static_cast<Arguments*>(state->input);
    std::uint64_t victim;
    switch (key) {
        case seconds_key: return take_number(state, "seconds", text, arguments.seconds), 0;
        case count_key:
            arguments.seconds = UINT32_MAX;
            return take_number(state, "count", text, arguments.count), 0;
        case seed_key: return take_number(state, "seed", text, arguments.seed), 0;
        case victim_key:
            take_number(state, "victim", text, victim);
            return arguments.victims.push_back(victim), 0;
        case 'j': return arguments.as_json = true, 0;
        case ARGP_KEY_ARG: argp_error(state, "attack takes no arguments"); return 0;
        default: return ARGP_ERR_UNKNOWN;
    }
}

volatile std::sig_atomic_t told_to_end = 0;

}  // namespace

bool Attacker::prepare() {
    struct quarry_info info = {};
    info.size = sizeof info;
    if (ioctl(fd_, QUARRY_IOC_INFO, &info) < 0) return false;
    // Bytes that this client owns throughout: inner offsets point into the large one.
    large_bytes_ = quarry_kind(pool_) == QUARRY_KIND_FIXED ? quarry_object_size(pool_) : 4096;
    large_ = quarry_alloc_offset(pool_, large_bytes_, 0);
    if (large_ == QUARRY_NO_OFFSET) return false;
    granted_++;
    std::memset(quarry_address(pool_, large_), 0x5a, large_bytes_);
    return true;
}

std::uint64_t Attacker::random_offset() {
    return random_() % quarry_max_bytes(pool_) & ~std::uint64_t{QUARRY_GRAIN - 1};
}

// Counts one attack: `result` is that of the call, which had to fail.
void Attacker::expect_refused(const char* kind, int result) {
    const int error = errno;
    attempts_[kind]++;
    total_++;
    if (result < 0) {
        refusals_[strerrorname_np(error) ? strerrorname_np(error) : std::to_string(error)]++;
    } else {
        successes_[kind]++;
    }
}

void Attacker::expect_errno(const char* kind, int result, int wanted) {
    const int error = errno;
    expect_refused(kind, result);
    if (result < 0 && error != wanted) {
        wrong_errors_[std::string(kind) + ": " + strerrorname_np(error)]++;
    }
}

void Attacker::double_free() {
    const std::uint64_t offset = quarry_alloc_offset(pool_, large_bytes_, 0);
    if (offset == QUARRY_NO_OFFSET) return;
    granted_++;
    if (quarry_free_offset(pool_, offset) < 0) honest_failures_++;
    else freed_++;
    expect_refused("double free", quarry_free_offset(pool_, offset));
}

void Attacker::foreign_free() {
    // Any offset but our own: others', free ones, inner ones.
    std::uint64_t offset = random_offset();
    if (offset == large_) offset += QUARRY_GRAIN;
    expect_refused("foreign free", quarry_free_offset(pool_, offset));
}

void Attacker::victim_free() {
    if (victims_.empty()) return;
    expect_refused("victim's object", quarry_free_offset(pool_, victims_[random_() % victims_.size()]));
}

void Attacker::wild_free() {
    const std::uint64_t max = quarry_max_bytes(pool_);
    const std::uint64_t beyond = max + (random_() & (UINT64_MAX >> 2) & ~std::uint64_t{7});
    expect_errno("out of range", quarry_free_offset(pool_, beyond), ERANGE);
    expect_errno("out of range", quarry_free_offset(pool_, ~std::uint64_t{7}), ERANGE);
    expect_errno("misaligned", quarry_free_offset(pool_, large_ + 1 + random_() % 7), EINVAL);
    if (large_bytes_ > QUARRY_GRAIN) {
        const std::uint64_t inside = 1 + random_() % (large_bytes_ / QUARRY_GRAIN - 1);
        expect_errno("inner offset", quarry_free_offset(pool_, large_ + inside * QUARRY_GRAIN),
                     EBADSLT);
    }
}

// A batch whose second half is wrong: the first is freed, the second refused, `done` says where.
void Attacker::mixed_batch() {
    std::uint64_t offsets[8];
    if (quarry_alloc_all(pool_, large_bytes_, 0, offsets, 4) < 0) return;
    granted_ += 4;
    for (int i = 4; i < 8; i++) offsets[i] = large_ + 1;
    const std::size_t done = quarry_free_batch(pool_, offsets, 8);
    const int error = errno;
    freed_ += done;
    if (done != 4) honest_failures_++;
    errno = error;
    expect_errno("wrong half of a batch", done > 4 ? 0 : -1, EINVAL);
}

void Attacker::transfers() {
    std::uint64_t offset = large_;
    expect_errno("transfer to nobody",
                 quarry_transfer(pool_, UINT64_MAX - random_() % 1000, &offset, 1) ? 0 : -1, ESRCH);
    do offset = random_offset();
    while (offset == large_);
    expect_refused("transfer of what is not ours",
                   quarry_transfer(pool_, quarry_client_id(pool_), &offset, 1) ? 0 : -1);
}

// Random bytes, with the right size, and something that must be zero set.
void Attacker::garbage() {
    alignas(8) unsigned char bytes[256];
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random_());
    const struct {
        unsigned long request;
        std::uint32_t size;
    } calls[] = {
        {QUARRY_IOC_ALLOC, sizeof(struct quarry_alloc)},
        {QUARRY_IOC_FREE, sizeof(struct quarry_free)},
        {QUARRY_IOC_TRANSFER, sizeof(struct quarry_transfer)},
        {QUARRY_IOC_REGION_ADD, sizeof(struct quarry_region)},
        {QUARRY_IOC_REGION_REMOVE, sizeof(struct quarry_region)},
        {QUARRY_IOC_DRAIN, sizeof(struct quarry_drain)},
        {QUARRY_IOC_VERIFY, sizeof(struct quarry_verify)},
        {QUARRY_IOC_JOIN, sizeof(struct quarry_join)},
    };
    const auto& call = calls[random_() % std::size(calls)];
    const std::uint32_t size = random_() % 2 ? call.size : static_cast<std::uint32_t>(random_() % call.size);
    const std::uint32_t flags = static_cast<std::uint32_t>(random_()) | 0x80000000u;
    std::memcpy(bytes, &size, 4);
    std::memcpy(bytes + 4, &flags, 4);
    expect_refused("garbage", ioctl(fd_, call.request, bytes));
    const unsigned long unknown = _IO(QUARRY_IOC_TYPE, 0x40 + random_() % 0xb0);
    expect_errno("unknown call", ioctl(fd_, unknown, bytes), ENOTTY);
    expect_refused("pool on a pool", ioctl(fd_, QUARRY_IOC_POOL_CREATE, bytes));
}

void Attacker::bad_addresses() {
    const std::uint64_t bad[] = {0, 8, 0x7ffffffff000, 0xffff800000000000, UINT64_MAX - 7};
    const std::uint64_t address = bad[random_() % std::size(bad)];
    struct quarry_alloc alloc = {};
    alloc.size = sizeof alloc;
    alloc.object_size = large_bytes_;
    alloc.count = 1 + static_cast<std::uint32_t>(random_() % 64);
    alloc.offsets = address;
    const int result = ioctl(fd_, QUARRY_IOC_ALLOC, &alloc);
    // A full pool may say so before it comes to the address.
    expect_refused("alloc to a bad address", result);
    struct quarry_free gone = {};
    gone.size = sizeof gone;
    gone.count = 1;
    gone.offsets = address;
    expect_errno("free from a bad address", ioctl(fd_, QUARRY_IOC_FREE, &gone), EFAULT);
    expect_errno("structure at a bad address",
                 ioctl(fd_, QUARRY_IOC_ALLOC, reinterpret_cast<void*>(address)), EFAULT);
}

void Attacker::creators_calls() {
    struct quarry_verify verify;
    struct quarry_drain drain;
    expect_errno("verify", quarry_verify(pool_, &verify), EPERM);
    expect_errno("region-add", quarry_region_add(pool_, 4096, QUARRY_ZONE_NORMAL, -1, nullptr), EPERM);
    expect_errno("region-remove", quarry_region_remove(pool_, 0, nullptr), EPERM);
    expect_errno("drain of the pool", quarry_drain(pool_, QUARRY_DRAIN_POOL, &drain), EPERM);
}

// From a forked child, on the parent's descriptor: that is another address space.
void Attacker::another_process() {
    int answer[2];
    if (pipe2(answer, O_CLOEXEC) < 0) return;
    const pid_t child = fork();
    if (child == 0) {
        struct quarry_free gone = {};
        gone.size = sizeof gone;
        gone.count = 1;
        gone.offsets = reinterpret_cast<std::uintptr_t>(&large_);
        int error = ioctl(fd_, QUARRY_IOC_FREE, &gone) < 0 ? errno : 0;
        if (write(answer[1], &error, sizeof error) != sizeof error) _exit(1);
        _exit(0);
    }
    close(answer[1]);
    int error = 0;
    const bool answered = child > 0 && read(answer[0], &error, sizeof error) == sizeof error;
    close(answer[0]);
    if (child > 0) waitpid(child, nullptr, 0);
    errno = error;
    if (answered) expect_errno("free from another process", error ? -1 : 0, EXDEV);
}

// Mappings that the rules refuse. One that is made is undone at once.
void Attacker::mappings() {
    const std::uint64_t max = quarry_max_bytes(pool_);
    const struct {
        const char* what;
        std::size_t bytes;
        int flags;
        std::uint64_t offset;
    } wrong[] = {
        {"private mapping", 4096, MAP_PRIVATE, 0},
        {"mapping beyond the pool", static_cast<std::size_t>(max) + 4096, MAP_SHARED, 0},
        {"mapping beyond the pool", 4096, MAP_SHARED, max},
        {"part of the client area", 1 << 20, MAP_SHARED, QUARRY_CLIENT_AREA_OFFSET + 4096},
    };
    for (const auto& map : wrong) {
        void* at = mmap(nullptr, map.bytes, PROT_READ | PROT_WRITE, map.flags, fd_,
                        static_cast<off_t>(map.offset));
        const int error = errno;
        if (at != MAP_FAILED) munmap(at, map.bytes);
        errno = error;
        expect_refused(map.what, at == MAP_FAILED ? -1 : 0);
    }
}

// What this client honestly owns is as it was: its contents, and the kernel's count.
void Attacker::check_own() {
    const auto* bytes = static_cast<const unsigned char*>(quarry_address(pool_, large_));
    for (std::size_t i = 0; i < large_bytes_; i++) honest_failures_ += bytes[i] != 0x5a;
    struct quarry_stat stat;
    // To the kernel what lies in this client's magazines is owned, too.
    if (quarry_drain(pool_, 0, nullptr) < 0) {
        honest_failures_++;
        complain_of(errno, QUARRY_CALL_DRAIN, "drain of the attacker's own");
    } else if (quarry_stat(pool_, &stat) < 0) {
        honest_failures_++;
        complain_of(errno, QUARRY_CALL_STAT, "stat of the attacker");
    } else if (stat.client_objects != 1) {
        honest_failures_++;
        complain("this client owns %llu objects by the kernel's count, and should own 1",
                 static_cast<unsigned long long>(stat.client_objects));
    }
}

void Attacker::round(unsigned number) {
    double_free();
    foreign_free();
    foreign_free();
    victim_free();
    wild_free();
    mixed_batch();
    transfers();
    garbage();
    bad_addresses();
    if (number % 64 == 0) {
        creators_calls();
        another_process();
        mappings();
        check_own();
    }
}

bool Attacker::failed() const {
    return !successes_.empty() || !wrong_errors_.empty() || honest_failures_ != 0;
}

Report Attacker::report() const {
    return {
        {"attacks", total_},         {"refused", total_ - sum(successes_)},
        {"by_kind", attempts_},      {"by_errno", refusals_},
        {"succeeded", successes_},   {"wrong_errno", wrong_errors_},
        {"honest_failures", honest_failures_},
        {"client", client_},
        {"granted", granted_},       {"freed", freed_},
    };
}

std::uint64_t Attacker::sum(const Counts& counts) {
    std::uint64_t sum = 0;
    for (const auto& [name, count] : counts) sum += count;
    return sum;
}

int run_attack(int argc, char** argv) {
    Arguments arguments;
    parse_arguments({options, parse, nullptr, doc, nullptr, nullptr, nullptr}, argc, argv,
                    &arguments);
    quarry_pool* pool = quarry_open_env();
    if (!pool) return complain_of(errno, QUARRY_CALL_ENV, "cannot join");
    Attacker attacker(pool, arguments.seed, arguments.victims);
    if (!attacker.prepare()) {
        const int error = errno;
        quarry_leave(pool);
        return complain_of(error, QUARRY_CALL_ALLOC, "cannot take an object to begin with");
    }
    std::signal(SIGTERM, [](int) { told_to_end = 1; });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(arguments.seconds);
    for (unsigned round = 0; attacker.total() < arguments.count; round++) {
        if (told_to_end || std::chrono::steady_clock::now() >= end) break;
        attacker.round(round);
    }
    attacker.check_own();
    quarry_leave(pool);
    print_report(attacker.report(), arguments.as_json);
    if (!attacker.failed()) return ok;
    complain("something was not refused as the rules say: see above");
    return wrong;
}

}  // namespace quarryctl
