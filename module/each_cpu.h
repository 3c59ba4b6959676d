/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef QUARRY_EACH_CPU_H
#define QUARRY_EACH_CPU_H

/* Before the first heap, and after the last one. Context: task. */
int quarry_each_cpu_init(void);
void quarry_each_cpu_exit(void);

#endif /* QUARRY_EACH_CPU_H */
