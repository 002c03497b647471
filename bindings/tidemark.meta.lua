---@meta tidemark
-- Types for editors (lua-language-server). docs/api.md says what each does.

---@class tidemark
---@field version string
---@field null lightuserdata the same value as cjson.null
---@field empty_array lightuserdata
local tidemark = {}

---@alias tidemark.code "exists"|"not_found"|"conflict"|"invalid"|"busy"|"timeout"|"read_only"|"locked"|"corrupt"|"io"|"full"|"failed"|"closed"
---@alias tidemark.document table|string a JSON object, as a table or as text

---@class tidemark.options
---@field batch_size? integer events after which a batch is written; 1000
---@field flush_interval_ms? integer 100
---@field batch_bytes_max? integer 4 MiB
---@field pending_bytes_max? integer 256 MiB
---@field sync? "batch"|"interval"|"none"
---@field sync_interval_ms? integer 1000
---@field durability? "accepted"|"durable"
---@field timeout_ms? integer
---@field segment_bytes? integer 256 MiB
---@field document_bytes_max? integer 16 MiB
---@field snapshot_log_bytes? integer 1 GiB; 0: never
---@field retain? tidemark.retain "all"; with another one the log is compacted in the background
---@field read_only? boolean
---@field hash_chain? boolean each frame of the log carries a hash over itself and all before

---@alias tidemark.retain "all"|{ events_per_document: integer }|{ days: integer }|{ log_bytes: integer }

---@class tidemark.compaction
---@field segments integer looked at
---@field rewritten integer segments
---@field removed integer events
---@field bytes_before integer of the log
---@field bytes_after integer

---@class tidemark.write_options
---@field if_version? integer 0: only if absent
---@field durability? "accepted"|"durable"
---@field timeout_ms? integer

---@class tidemark.event
---@field seq integer
---@field time_us integer microseconds since 1970
---@field type "created"|"updated"|"deleted"|"gap"
---@field collection string
---@field id string
---@field document table? absent for deleted
---@field last_seq integer? of a gap

---@class tidemark.event_filter
---@field from? integer
---@field to? integer
---@field collection? string
---@field id? string

---@param path string
---@param options? tidemark.options
---@return tidemark.database? db, string? message, tidemark.code? code
function tidemark.open(path, options) end

---@param n integer
---@param chunk string|fun(index: integer, ...): ... without upvalues
---@return table[]? results, string? message, "script"? code
function tidemark.threads(n, chunk, ...) end

---@generic T: table
---@param t T
---@return T
function tidemark.array(t) end

---@class tidemark.database
local database = {}

---@param name string 1-64 of A-Z a-z 0-9 _ -
---@return tidemark.collection
function database:collection(name) end

---@return true?, string? message, tidemark.code? code
function database:close() end

---@param timeout_ms? integer
---@return integer? durable, string? message, tidemark.code? code
function database:flush(timeout_ms) end

---@param seq integer
---@param level? "durable"|"written"
---@param timeout_ms? integer
---@return true?, string? message, tidemark.code? code
function database:wait(seq, level, timeout_ms) end

---@return { accepted: integer, written: integer, durable: integer }
function database:watermarks() end

---@param filter? tidemark.event_filter
---@return fun(): tidemark.event?
function database:events(filter) end

---@return table<string, integer>
function database:stats() end

---@return integer? seq, string? message, tidemark.code? code
function database:snapshot() end

---@param path string
---@return { seq: integer, time_us: integer, files: integer, bytes: integer, files_copied: integer, bytes_copied: integer }? result
---@return string? message, tidemark.code? code
function database:backup(path) end

---@param retain? tidemark.retain what stays; the option's without it
---@return tidemark.compaction? result, string? message, tidemark.code? code
function database:compact(retain) end

---@return string? hash, integer? seq nil without a chain
function database:chain_head() end

---@class tidemark.collection
---@field name string
---@operator len: integer
local collection = {}

---@param document tidemark.document
---@param options? tidemark.write_options
---@return string? id, integer|string version_or_message, tidemark.code? code
function collection:create(document, options) end

---@param document tidemark.document
---@param options? tidemark.write_options
---@return integer? version, boolean|string created_or_message, tidemark.code? code
function collection:put(document, options) end

---@param id string
---@param patch tidemark.document a JSON merge patch
---@param options? tidemark.write_options
---@return integer? version, string? message, tidemark.code? code
function collection:update(id, patch, options) end

---@param id string
---@param options? tidemark.write_options
---@return integer? version, string? message, tidemark.code? code
function collection:delete(id, options) end

---@param id string
---@return table? document, integer? version
function collection:get(id) end

---@param id string
---@return string? text, integer? version
function collection:get_json(id) end

---@param ids string[]
---@return (table|false)[]
function collection:get_many(ids) end

---@param id string
---@return boolean
function collection:has(id) end

---@return integer
function collection:count() end

---@param prefix? string
---@return fun(): string?, table?, integer?
function collection:each(prefix) end

return tidemark
