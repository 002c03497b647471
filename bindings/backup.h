/* backup.h - backup and restore for Lua. All of them block, and copy in the calling thread. */
#ifndef TIDE_BINDINGS_BACKUP_H
#define TIDE_BINDINGS_BACKUP_H

#include <lua.h>

/* db:backup(path) → { seq, time_us, files, bytes, files_copied, bytes_copied } | nil, message, code */
int database_backup(lua_State *L);

/* Of "tidemark.tools", for the command. on_progress(bytes_done, bytes_total) may be nil.
 * backup(dir, target, on_progress) → as db:backup
 * restore(backup, dir, to_seq, to_time_us, on_progress) → { seq, last_time_us, files, bytes, database_id }; seq and
 * time nil: not wanted */
int tools_backup(lua_State *L);
int tools_restore(lua_State *L);

#endif
