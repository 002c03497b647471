/* plant.h - bugs on purpose, one a build (-DPLANT=n), to show that the tests would notice them: `make plant`. In every
 * other build PLANTED is false at compile time, and nothing of this is left. The list is in scripts/plant. */
#ifndef TIDE_PLANT_H
#define TIDE_PLANT_H

#ifndef PLANT
#define PLANT 0
#endif

#define PLANTED(n) (PLANT == (n))

#endif
