-- main-job.lua [BUILD]: what `make run` shows. Stores articles and this Debian's package descriptions through the public
-- module, reads everything back from the log, prints one table; exit status 1 when something was lost or too slow.
local build = arg[1] or "build"
package.path = "scripts/main_job/?.lua;scripts/?.lua;" .. package.path
package.cpath = build .. "/?.so;" .. package.cpath

local report = require "report"
local directory = ("%s/main-job-%s"):format(build, os.date "!%Y%m%d-%H%M%S")
assert(os.execute("rm -rf '" .. directory .. "' && mkdir -p '" .. directory .. "'"))

print(("Tidemark %s, main job in %s\n"):format(require "tidemark".version, directory))
for _, name in ipairs { "create", "mixed", "packages", "http" } do require(name)(directory, report, build) end
report.print()
print(([[

The databases are in %s. Look into them with
  %s/tidemark info   %s/create
  %s/tidemark dump   %s/mixed | head -n 3
  %s/tidemark verify %s/packages]]):format(directory, build, directory, build, directory, build, directory))
os.exit(report.met() and 0 or 1, true)
