// SPDX-License-Identifier: MIT
// A recorded trace as a program that the player can play.
#pragma once

#include <string>

#include "player.hpp"

namespace quarryctl {

// Reads the trace at `path`, at most its first `most` events; false, and `why`, a sentence, when it
// is none.
bool load_program(const std::string& path, Program& program, std::string& why,
                  std::uint64_t most = UINT64_MAX);

}  // namespace quarryctl
