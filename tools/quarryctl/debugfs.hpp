// SPDX-License-Identifier: MIT
//
// The pools as debugfs shows them to root: a folder a pool, named by its id; files of "key: value"
// lines (module/debugfs.c).
#pragma once

#include <string>
#include <vector>

#include "common.hpp"

namespace quarryctl {

// Where the pools stand; $QUARRY_DEBUGFS for another mount.
std::string debugfs_root();

// The pools' ids, sorted. False, with a complaint, when there is no such folder.
bool debugfs_pools(std::vector<std::string>& folders, Exit& why);

// The folder of POOL, an id or a name; nullptr: the only one.
bool debugfs_find(const char* pool, std::string& folder, Exit& why);

// The lines of a pool's file as a report: numbers as numbers, "a=1 b=2" as an object. No line at all
// is an error unless it `may_be_empty`.
bool debugfs_read(const std::string& folder, const char* file, Report& report, Exit& why,
                  bool may_be_empty = false);

}  // namespace quarryctl
