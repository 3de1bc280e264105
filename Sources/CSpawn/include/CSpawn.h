#ifndef APUS_CSPAWN_H
#define APUS_CSPAWN_H

#include <sys/types.h>

/// A pipe whose ends no child inherits. Returns 0, or the error.
int apus_pipe(int ends[2]);

/// Starts a program in a process group of its own, with these three descriptors and no other, with no signal blocked or ignored.
/// The descriptors are above 2 and stay open here. Returns 0, or the error.
int apus_spawn(pid_t *process, const char *path, char *const arguments[], char *const environment[], int input, int output, int error);

#endif
