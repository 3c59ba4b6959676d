// SPDX-License-Identifier: MIT
//
// The pools as debugfs shows them to root: a folder a pool, files of "key: value" lines.
#pragma once

#include <string>
#include <vector>

#include "common.hpp"

namespace quarryctl {

// Where the pools stand; $QUARRY_DEBUGFS for another mount.
std::string debugfs_root();

// The pools' folder names, sorted. False, with a complaint, when there is no such folder.
bool debugfs_pools(std::vector<std::string>& folders, Exit& why);

// The folder of POOL: by its folder's name, the pool's name or id; nullptr: the only one.
bool debugfs_find(const char* pool, std::string& folder, Exit& why);

// "key: value" lines of a pool's file as a report, numbers as numbers.
bool debugfs_read(const std::string& folder, const char* file, Report& report, Exit& why);

}  // namespace quarryctl
