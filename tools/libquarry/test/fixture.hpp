// SPDX-License-Identifier: MIT
//
// What the unit tests share: a fresh fake device for each, and a check that the test held nothing
// back: no descriptor, mapping or allocation more than at its start.
#pragma once

#include <gtest/gtest.h>
#include <quarry/quarry.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "fake_device.hpp"

class Quarry : public testing::Test {
protected:
    void SetUp() override {
        fake::install();
        held_ = fake::held();
    }

    void TearDown() override {
        const fake::Held now = fake::held();
        EXPECT_EQ(now.descriptors, held_.descriptors) << "descriptors leaked";
        EXPECT_EQ(now.mappings, held_.mappings) << "mappings leaked";
        EXPECT_EQ(now.allocations, held_.allocations) << "memory leaked";
    }

    static quarry_options heap(std::uint64_t bytes = 1 << 16) {
        quarry_options options = {};
        options.bytes = bytes;
        return options;
    }

    static quarry_pool* new_pool(std::uint64_t bytes = 1 << 16) {
        const quarry_options options = heap(bytes);
        quarry_pool* pool = quarry_create(nullptr, &options);
        EXPECT_NE(pool, nullptr) << strerror(errno);
        return pool;
    }

    // Runs `body` in a forked child, which exits with what it returns; 0 is success.
    template <typename Body>
    static int in_child(Body body) {
        const pid_t child = fork();
        if (child == 0) _exit(body());
        int status = -1;
        waitpid(child, &status, 0);
        fake::reap_process(child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }

    fake::Held held_;
};
