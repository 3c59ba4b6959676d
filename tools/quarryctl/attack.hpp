// SPDX-License-Identifier: MIT
//
// The attacker: one client of a pool, and the counts of what it tried.
#pragma once

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common.hpp"

namespace quarryctl {

class Attacker {
public:
    Attacker(quarry_pool* pool, std::uint64_t seed, std::vector<std::uint64_t> victims)
        : pool_(pool), fd_(quarry_fd(pool)), client_(quarry_client_id(pool)), random_(seed),
          victims_(std::move(victims)) {}

    // Takes the one object that this client owns throughout; false and errno.
    bool prepare();
    // Every attack once; the slow ones each 64th round.
    void round(unsigned number);
    void check_own();

    std::uint64_t total() const { return total_; }
    bool failed() const;
    Report report() const;

private:
    using Counts = std::map<std::string, std::uint64_t>;

    static std::uint64_t sum(const Counts& counts);

    void expect_refused(const char* kind, int result);
    void expect_errno(const char* kind, int result, int wanted);
    std::uint64_t random_offset();

    void double_free();
    void foreign_free();
    void victim_free();
    void wild_free();
    void mixed_batch();
    void transfers();
    void garbage();
    void bad_addresses();
    void creators_calls();
    void another_process();
    void mappings();

    quarry_pool* pool_;
    int fd_;
    std::uint64_t client_;
    std::mt19937_64 random_;
    std::vector<std::uint64_t> victims_;
    std::uint64_t large_ = QUARRY_NO_OFFSET;
    std::size_t large_bytes_ = 0;
    std::uint64_t total_ = 0;
    std::uint64_t granted_ = 0, freed_ = 0;  // objects, by calls that were right
    std::uint64_t honest_failures_ = 0;
    Counts attempts_, refusals_, successes_, wrong_errors_;
};

}  // namespace quarryctl
