-- helper.lua: what busted loads once, before all specs. It forgets modules after each file that required them; luv must
-- stay, for its event loop goes with it while libuv still has it.
require "luv"
