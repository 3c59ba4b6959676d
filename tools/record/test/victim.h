/* SPDX-License-Identifier: MIT */
/* The figures that victim.c and recorder_test.cpp share. */
#pragma once

#define VICTIM_MARK 46337 /* bytes: a mark is an object of this size, freed at once */
#define VICTIM_CHAINS 50
#define VICTIM_THREADS 8
#define VICTIM_ROUNDS 20000
#define VICTIM_SUCCESSIVE 600
#define VICTIM_TOGETHER 300
#define VICTIM_INHERITED 1000
#define VICTIM_OWN 500
