// SPDX-License-Identifier: MIT
//
// What is explored. Each is made anew for each schedule; what must hold is at its place in
// scenarios.cpp.
#pragma once

#include "model.hpp"

namespace scenarios {

// A producer beside another, and the consumer.
model::Scenario* queue(void* at);
// Two frees into one slab, and the collector.
model::Scenario* homecoming(void* at);
// A client's pops and pushes with their refills and flushes, a drain of all magazines, and the reap of another
// client.
model::Scenario* grant_drain_reap(void* at);
// The same client reaped itself, beside the drain.
model::Scenario* drain_beside_reap(void* at);
// The owner transfers an object, frees it too, and the receiver frees it.
model::Scenario* transfer_beside_free(void* at);
// Pages taken and freed on two CPUs, and a drain of both.
model::Scenario* page_cache(void* at);
// A driver's objects taken on one CPU, freed on another, and a flush of all.
model::Scenario* driver_heap(void* at);

// A shrinker that empties a client's magazine, with its CPU held; and, planted, without.
model::Scenario* shrinker_holds(void* at);
model::Scenario* shrinker_does_not_hold(void* at);

}  // namespace scenarios
